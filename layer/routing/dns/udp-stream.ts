/**
 * A stream of DNS datagrams: each query goes to who answers for its name, by the program's one socket.
 */

import {emitUdpHead, parseEndpoint} from '../../../tunnel/messages.ts';
import type {StreamHandler} from '../../../tunnel/types.ts';
import type {OpenStream, OutgoingStream} from '../../streams.ts';
import type {NameServer} from './name-server.ts';

/** Opens a stream of kind `udp`. `forward` opens the one to the pod's name server, when it is needed. */
export function openDnsUdp(
  {decide, answer}: NameServer,
  forward: OpenStream,
  body: Uint8Array,
  handler: StreamHandler,
): OutgoingStream {
  let isOpen = true;
  let forwarded: OutgoingStream | undefined;
  const answerHere = async (message: Uint8Array, name: string, head: Uint8Array): Promise<void> => {
    const reply = await answer(message, name, 'udp');
    if (!isOpen || reply === undefined) return;
    handler.onDatagram?.(Buffer.concat([emitUdpHead(parseEndpoint(head)), reply]));
  };
  const nothing = (): void => undefined;
  return {
    writable: 0,
    write: nothing,
    end: nothing,
    consumed: nothing,
    sendDatagram(payload, head = new Uint8Array()) {
      const {side, name} = decide(payload);
      if (side === 'host') {
        void answerHere(Uint8Array.from(payload), name, Uint8Array.from(head));
        return true;
      }
      forwarded ??= forward('udp', body, handler);
      return forwarded.sendDatagram(payload, head);
    },
    reset(errno) {
      isOpen = false;
      forwarded?.reset(errno);
    },
  };
}
