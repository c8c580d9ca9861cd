/**
 * Targets, as paths and as objects: `deployment/shop/container/app`, `label/app=shop`, `demo/gateway`.
 */

import {MirrordError} from '../../layer/errors.ts';
import {quote} from './path.ts';
import {targetKinds} from './schema/target.ts';

type ObjectKind = keyof typeof targetKinds;
/** A kind of target, as paths have it. */
export type TargetKind =
  | (typeof targetKinds)[ObjectKind]
  | 'label'
  | 'targetless'
  | 'demo'
  | 'process';

/** A target, whatever form it was written in. */
export type Target =
  | {kind: 'targetless'}
  | {kind: (typeof targetKinds)[ObjectKind]; name: string; container?: string}
  | {kind: 'label'; labels: Readonly<Record<string, string>>; container?: string}
  /** A pod of the embedded cluster. */
  | {kind: 'demo'; name: string}
  /** A process of this machine. */
  | {kind: 'process'; pid: number};

/** Every kind, in the order in which mirrord lists them; ours come last. */
export const allKinds: readonly TargetKind[] = [
  'targetless',
  'pod',
  'deployment',
  'rollout',
  'job',
  'cronjob',
  'statefulset',
  'daemonset',
  'service',
  'replicaset',
  'label',
  'demo',
  'process',
];

const forms =
  'a target is kind/name[/container/name] (pod, deployment, rollout, job, cronjob, statefulset, daemonset, ' +
  'service, replicaset), label/key=value[,key=value], targetless, demo/pod or process/pid';

function invalid(text: string, why: string): MirrordError {
  return new MirrordError('MIRRORD_TARGET_INVALID', `${quote(text)} is not a target: ${why}`, {
    hint: forms,
  });
}

function parseLabels(text: string, all: string): Record<string, string> {
  const pairs = text.split(',').map((pair) => {
    const [, name, value] = /^([^=]+)=([^=]*)$/.exec(pair) ?? [];
    if (name === undefined || value === undefined) throw invalid(all, `${quote(pair)} is no label`);
    return [name, value] as const;
  });
  return Object.fromEntries(pairs);
}

const kindOfPath: ReadonlyMap<string, (typeof targetKinds)[ObjectKind]> = new Map([
  ...Object.values(targetKinds).map((kind) => [kind, kind] as const),
  ['deploy', 'deployment'] as const,
]);

/** Parses the path form. Throws MIRRORD_TARGET_INVALID. */
export function parseTargetPath(text: string): Target {
  if (text === 'targetless') return {kind: 'targetless'};
  const [kind = '', name = '', ...rest] = text.split('/');
  if (name === '') throw invalid(text, 'there is no name');
  if (kind === 'demo' || kind === 'process') {
    if (rest.length > 0) throw invalid(text, `nothing may follow ${kind}/${name}`);
    if (kind === 'demo') return {kind, name};
    if (!/^[1-9]\d{0,9}$/.test(name)) throw invalid(text, `${quote(name)} is no process ID`);
    return {kind, pid: Number(name)};
  }
  const [word, container = '', ...more] = rest;
  if (rest.length > 0 && (word !== 'container' || container === '' || more.length > 0)) {
    throw invalid(text, 'only /container/name may follow the name');
  }
  const inside = rest.length > 0 ? {container} : {};
  if (kind === 'label') return {kind, labels: parseLabels(name, text), ...inside};
  const known = kindOfPath.get(kind);
  if (known === undefined) throw invalid(text, `${quote(kind)} is no kind of target`);
  return {kind: known, name, ...inside};
}

/** Parses either form, of a checked configuration; without one the session has no target. */
export function parseTarget(path: string | object | undefined): Target {
  if (path === undefined) return {kind: 'targetless'};
  if (typeof path === 'string') return parseTargetPath(path);
  const given = path as Partial<Record<ObjectKind | 'container', string>> & {
    labels?: Record<string, string>;
  };
  const inside = given.container === undefined ? {} : {container: given.container};
  if (given.labels !== undefined) return {kind: 'label', labels: given.labels, ...inside};
  for (const [key, kind] of Object.entries(targetKinds)) {
    const name = given[key as ObjectKind];
    if (name !== undefined) return {kind, name, ...inside};
  }
  return {kind: 'targetless'};
}

/** The object form, as mirrord's tools show targets. */
export function targetObject(target: Target): object | 'targetless' {
  if (target.kind === 'targetless') return target.kind;
  if (target.kind === 'demo') return {demo: target.name};
  if (target.kind === 'process') return {process: target.pid};
  const {kind, container} = target;
  const inside = container === undefined ? {} : {container};
  if (kind === 'label') return {labels: target.labels, ...inside};
  const key = Object.entries(targetKinds).find(([, path]) => path === kind)?.[0] ?? kind;
  return {[key]: target.name, ...inside};
}

/** The path form of a target, for messages. */
export function formatTarget(target: Target): string {
  if (target.kind === 'targetless') return 'targetless';
  if (target.kind === 'process') return `process/${target.pid}`;
  if (target.kind === 'demo') return `demo/${target.name}`;
  const name =
    target.kind === 'label'
      ? Object.entries(target.labels)
          .map(([label, value]) => `${label}=${value}`)
          .join(',')
      : target.name;
  const container = target.container === undefined ? '' : `/container/${target.container}`;
  return `${target.kind}/${name}${container}`;
}
