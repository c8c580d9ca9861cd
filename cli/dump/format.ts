/**
 * What `mirrord dump` writes of an event: for people in mirrord's words, for scripts as a JSON object a line. Pure.
 */

import chalk from 'chalk';
import {addressText} from '../../layer/address.ts';
import type {DumpEvent} from '../../layer/dump.ts';
import type {TunnelEndpoint} from '../../tunnel/messages.ts';
import {readable, textOf} from './readable.ts';

export type Format = (event: DumpEvent, now: Date) => string;

function endpointText({address, port}: TunnelEndpoint): string {
  const text = addressText(address);
  return address.length === 16 ? `[${text}]:${port}` : `${text}:${port}`;
}

const head = (text: string): string => `${chalk.cyan(`## ${text}`)}\n`;

/** For people. Colours where standard output is a terminal. */
export const asText: Format = (event) => {
  const {id} = event;
  switch (event.type) {
    case 'connection': {
      const [from, to] = [event.peer, event.local].map(endpointText);
      return head(`New connection established: Connection ID ${id} from ${from} to ${to}`);
    }
    case 'data':
      return head(`Connection ID ${id}: ${event.bytes.length} bytes`) + readable(event.bytes);
    case 'closed':
    case 'reset':
      return head(`Connection ID ${id} ${event.type} after ${event.total} bytes`);
    default:
      return event satisfies never;
  }
};

/** For scripts: bytes that are no text are in base64. */
export const asJson: Format = (event, now) => {
  const {type, id, ...rest} = event;
  const base = {type, id, time: now.toISOString()};
  if (event.type === 'connection') {
    const [from, to] = [event.peer, event.local].map(endpointText);
    return `${JSON.stringify({...base, from, to})}\n`;
  }
  if (event.type === 'data') {
    const {bytes} = event;
    const text = textOf(bytes);
    const data = text === undefined ? {base64: Buffer.from(bytes).toString('base64')} : {text};
    return `${JSON.stringify({...base, bytes: bytes.length, ...data})}\n`;
  }
  return `${JSON.stringify({...base, ...rest})}\n`;
};
