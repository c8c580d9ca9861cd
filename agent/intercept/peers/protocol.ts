/**
 * What agents of one pod say to each other: two methods, by calls of the tunnel, of whoever follows to whoever leads.
 *
 *     lead        subscription  LeaderInfo, again and again as a sign of life; and when the leader leaves, and somebody else is to
 *                               lead, LeavingInfo
 *     intercept   subscription  InterceptEvent; its parameters are HandedOver
 *
 * Connections come as streams that the leader opens, as to any client (tunnel/messages.ts).
 */

import {type InterceptParams, parseInterceptParams} from '../../../tunnel/intercept.ts';
import type {Standing} from '../subscriptions.ts';

/**
 * Where the agents of a pod meet: an abstract unix socket, whose names belong to the network namespace. With the version of
 * all this: agents that would not understand each other do not meet.
 * Whatever changes what a subscription may ask for is another version: one that the leader does not understand fails.
 */
export const MEETING_POINT = '\0mirrord/incoming/3';

/** Where they meet when who holds the place before is silent: the highest that is held counts. */
export function meetingPoint(place: number): string {
  return place === 0 ? MEETING_POINT : `${MEETING_POINT}+${place}`;
}

/** As many leaders may be stopped at a time, and no more are looked for. */
export const LAST_PLACE = 3;

/** Agents that stay after their sessions at a time, and where each of them is. */
export const MOST_LINGERING = 4;
export function lingeringPlace(place: number): string {
  return `\0mirrord/incoming/lingering/1/${place}`;
}

/** How often a leader shows that it lives, ms. */
export const BEAT_MS = 2_000;
/** Of one that is silent for so long the rules have expired (LIFETIME_SECONDS, with some time to notice), and others lead. */
export const SILENT_MS = 8_000;

/** Whether agents meet there, of this version or another, or linger. */
export function isMeetingPoint(name: string): boolean {
  return name.startsWith('\0mirrord/incoming/');
}

/** The tunnel wants one. It tells nothing: whom an agent trusts is decided before (`meeting-point.ts`). */
export const PEER_TOKEN = new Uint8Array(32);

export const PEER_METHOD = {lead: 'lead', intercept: 'intercept'} as const;

/** Who leads. */
export interface LeaderInfo {
  /** Of its rules. */
  readonly id: string;
  /** Of its listener, which is no port of the pod's. */
  readonly port: number;
}

/** The leader leaves. */
export interface LeavingInfo {
  /** Subscriptions of all its followers: so many move. */
  readonly moving: number;
}

/** A subscription that another agent asks for in the name of its client; `id` is that agent's. */
export type HandedOver = InterceptParams & Standing;

/** Reads a leader's answer; undefined for one that makes no sense. */
export function parseLeaderInfo(value: unknown): LeaderInfo | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const {id, port}: Record<string, unknown> = {...value};
  if (typeof id !== 'string' || !/^[0-9a-f]{8}$/.test(id)) return undefined;
  if (!Number.isInteger(port)) return undefined;
  return {id, port: port as number};
}

/** Reads what a leader says then; undefined for anything else. */
export function parseLeavingInfo(value: unknown): LeavingInfo | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const {moving}: Record<string, unknown> = {...value};
  return Number.isInteger(moving) ? {moving: moving as number} : undefined;
}

/** Reads parameters; undefined for those that make no sense. */
export function parseHandedOver(value: unknown): HandedOver | undefined {
  const params = parseInterceptParams(value);
  if (params === undefined) return undefined;
  const {since, isMoved, isCaptured}: Record<string, unknown> = {...(value as object)};
  if (!Number.isSafeInteger(since)) return undefined;
  if (typeof isMoved !== 'boolean' || typeof isCaptured !== 'boolean') return undefined;
  return {...params, since: since as number, isMoved, isCaptured};
}
