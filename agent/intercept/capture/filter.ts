/**
 * Which packets of the pod are copied, as a program of classic BPF that the kernel runs for each of them
 * (Documentation/networking/filter.rst). Pure.
 *
 *     to a mirrored port        all segments of TCP, as they come in; on `lo`, where everything is seen twice, once
 *     from a mirrored port      resets as they go out: the application's, and the kernel's for it
 *     with the agents' mark     nothing: it is a copy of what was seen before, on its way through an agent
 *     of an excluded client     only what ends the connection, or begins another one
 *     to a port left out        of what comes by a network card, only what begins a connection
 *
 * Fragments are left out: TCP makes none. Of IPv6's extension headers there may be one of hop-by-hop options, which is how
 * the kernel writes the length of a packet above 64 KiB (RFC 2675).
 */

import {PASS_MARK} from '../rules.ts';
import type {Ends} from '../tunnel-socket.ts';
import {FIN, RST, SYN} from './segment.ts';

/** Six instructions each with what is left out, of 4,096 that a program may have (BPF_MAXINSNS). */
export const MOST_PORTS = 640;
/** Six each. */
export const MOST_EXCLUDED = 32;

/** "Linux include/uapi/linux/filter.h", "bpf_common.h". */
const LOAD_BYTE = 0x30;
const LOAD_HALF = 0x28;
const LOAD_WORD = 0x20;
const LOAD_BYTE_AT_X = 0x50;
const LOAD_HALF_AT_X = 0x48;
const LOAD_WORD_AT_X = 0x40;
const LOAD_KEPT = 0x60;
const KEEP = 0x02;
/** Four times the low half of a byte: the length of an IPv4 header. */
const X_HEADER_LENGTH = 0xb1;
const X_CONSTANT = 0x01;
const JUMP = 0x05;
const JUMP_EQUAL = 0x15;
const JUMP_ANY_BIT = 0x45;
const RETURN = 0x06;

/** What the kernel knows of a packet besides its bytes: "SKF_AD_OFF" and what comes after it. */
const PROTOCOL = 0xffff_f000;
const PACKET_TYPE = 0xffff_f004;
const MARK = 0xffff_f014;
const HARDWARE_TYPE = 0xffff_f01c;
/** "Linux include/uapi/linux/if_arp.h". */
const LOOPBACK = 772;
/** "Linux include/uapi/linux/if_packet.h". */
const PACKET_HOST = 0;
const PACKET_OUTGOING = 4;

const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const TCP = 6;
const FRAGMENT_OFFSET = 0x1fff;
const FLAGS_AT = 13;
/** Where the last word of the source address is. */
const SOURCE_END = {ipv4: 12, ipv6: 20} as const;

/** More than any packet has. */
const WHOLE = 0x0010_0000;

/** `yes` and `no`: where a comparison goes; undefined: to the next instruction. */
interface Instruction {
  readonly code: number;
  readonly k: number;
  readonly yes?: string | undefined;
  readonly no?: string | undefined;
}

/** Instructions and the labels between them. */
class Program {
  readonly #instructions: Instruction[] = [];
  readonly #labels = new Map<string, number>();

  label(name: string): void {
    this.#labels.set(name, this.#instructions.length);
  }

  add(code: number, k: number): void {
    this.#instructions.push({code, k});
  }

  /** A comparison, whose labels are at most 255 instructions ahead; with undefined it goes on. */
  test(code: number, k: number, yes: string | undefined, no: string | undefined): void {
    this.#instructions.push({code, k, yes, no});
  }

  jump(to: string): void {
    this.#instructions.push({code: JUMP, k: 0, yes: to});
  }

  /** As `struct sock_filter`s of this machine's byte order. */
  assemble(): Uint8Array {
    const bytes = new Uint8Array(8 * this.#instructions.length);
    const view = new DataView(bytes.buffer);
    for (const [at, {code, k, yes, no}] of this.#instructions.entries()) {
      const distance = (label: string | undefined): number =>
        label === undefined ? 0 : (this.#labels.get(label) ?? 0) - at - 1;
      view.setUint16(8 * at, code, true);
      if (code === JUMP) {
        view.setUint32(8 * at + 4, distance(yes), true);
        continue;
      }
      bytes[8 * at + 2] = distance(yes);
      bytes[8 * at + 3] = distance(no);
      view.setUint32(8 * at + 4, k, true);
    }
    return bytes;
  }
}

/** Lets the packet through whose port, at `offset` from X, is one of these. */
function matchPorts(program: Program, offset: number, ports: readonly number[]): void {
  program.add(LOAD_HALF_AT_X, offset);
  for (const [index, port] of ports.entries()) {
    const next = `${offset}/${index}`;
    program.test(JUMP_EQUAL, port, undefined, next);
    program.jump('accept');
    program.label(next);
  }
  program.add(RETURN, 0);
}

/** Leaves out what these clients send: by both ports, and the last word of their address, which was kept. */
function exclude(program: Program, excluded: readonly Ends[]): void {
  program.add(LOAD_WORD_AT_X, 0);
  for (const [index, {peer, local}] of excluded.entries()) {
    const next = `next ${index}`;
    program.test(JUMP_EQUAL, ((peer.port << 16) | local.port) >>> 0, undefined, next);
    program.jump(`maybe ${index}`);
    program.label(next);
  }
  program.jump('ports');
  for (const [index, {peer}] of excluded.entries()) {
    program.label(`maybe ${index}`);
    const {buffer, byteOffset, byteLength} = peer.address;
    const end = new DataView(buffer, byteOffset, byteLength).getUint32(byteLength - 4);
    program.add(LOAD_KEPT, 0);
    program.test(JUMP_EQUAL, end, undefined, `other ${index}`);
    program.jump('excluded');
    program.label(`other ${index}`);
    program.jump('ports');
  }
  program.label('excluded');
  program.add(LOAD_BYTE_AT_X, FLAGS_AT);
  program.test(JUMP_ANY_BIT, FIN | SYN | RST, 'ports', undefined);
  program.add(RETURN, 0);
  program.label('ports');
}

/** Leaves out what comes by a network card to these ports, but for SYNs; with the port in the accumulator it goes on. */
function leaveOut(program: Program, leftOut: readonly number[]): void {
  program.add(LOAD_WORD, HARDWARE_TYPE);
  program.test(JUMP_EQUAL, LOOPBACK, 'all of it', undefined);
  program.add(LOAD_BYTE_AT_X, FLAGS_AT);
  program.test(JUMP_ANY_BIT, SYN, 'all of it', 'look');
  // Where it goes on may be too far for a comparison.
  program.label('all of it');
  program.jump('of any port');
  program.label('look');
  program.add(LOAD_HALF_AT_X, 2);
  for (const port of leftOut) {
    const next = `in ${port}`;
    program.test(JUMP_EQUAL, port, undefined, next);
    program.add(RETURN, 0);
    program.label(next);
  }
  program.label('of any port');
}

/** What is captured but for the ports: at most MOST_EXCLUDED connections are not, and of any of the ports what comes from outside. */
export interface Exceptions {
  readonly excluded?: readonly Ends[];
  readonly leftOut?: readonly number[];
}

/** The program for these ports, at most MOST_PORTS. */
export function captureFilter(
  ports: readonly number[],
  {excluded = [], leftOut = []}: Exceptions = {},
): Uint8Array {
  const program = new Program();
  program.add(LOAD_WORD, MARK);
  program.test(JUMP_EQUAL, PASS_MARK, 'reject', undefined);
  program.add(LOAD_WORD, PROTOCOL);
  program.test(JUMP_EQUAL, ETHERTYPE_IPV4, 'ipv4', undefined);
  program.test(JUMP_EQUAL, ETHERTYPE_IPV6, 'ipv6', 'reject');

  const keepSource = (at: number): void => {
    if (excluded.length === 0) return;
    program.add(LOAD_WORD, at);
    program.add(KEEP, 0);
  };
  program.label('ipv4');
  keepSource(SOURCE_END.ipv4);
  program.add(LOAD_BYTE, 9);
  program.test(JUMP_EQUAL, TCP, undefined, 'reject');
  program.add(LOAD_HALF, 6);
  program.test(JUMP_ANY_BIT, FRAGMENT_OFFSET, 'reject', undefined);
  program.add(X_HEADER_LENGTH, 0);
  program.jump('tcp');

  program.label('ipv6');
  keepSource(SOURCE_END.ipv6);
  program.add(X_CONSTANT, 40);
  program.add(LOAD_BYTE, 6);
  program.test(JUMP_EQUAL, TCP, 'tcp', undefined);
  program.test(JUMP_EQUAL, 0, undefined, 'reject');
  program.add(LOAD_HALF, 40);
  program.test(JUMP_EQUAL, TCP << 8, undefined, 'reject');
  program.add(X_CONSTANT, 48);

  program.label('tcp');
  program.add(LOAD_WORD, PACKET_TYPE);
  program.test(JUMP_EQUAL, PACKET_HOST, undefined, 'not incoming');
  program.jump('incoming');
  program.label('not incoming');
  program.test(JUMP_EQUAL, PACKET_OUTGOING, undefined, 'reject');
  program.add(LOAD_BYTE_AT_X, FLAGS_AT);
  program.test(JUMP_ANY_BIT, RST, 'reset', 'reject');
  program.label('reject');
  program.add(RETURN, 0);
  // Behind a jump the kernel knows that the address was kept, but not behind a return (check_load_and_stores).
  program.label('reset');
  program.jump('outgoing');

  program.label('incoming');
  if (leftOut.length > 0) leaveOut(program, leftOut);
  if (excluded.length > 0) exclude(program, excluded);
  matchPorts(program, 2, ports);
  program.label('outgoing');
  matchPorts(program, 0, ports);
  program.label('accept');
  program.add(RETURN, WHOLE);
  return program.assemble();
}
