/**
 * What the protocols of a stack share.
 */
import type {ControlQueue} from './control-queue.ts';
import type {Counters} from './counters.ts';
import type {Limits} from './limits.ts';
import type {PacketWriter} from './packet-writer.ts';
import type {StackHandler} from './types.ts';

export interface Shared {
  readonly counters: Counters;
  readonly limits: Limits;
  /** The MTU of the device. */
  readonly mtu: number;
  /** What all windows may be together, bytes. */
  readonly windowBudget: number;
  /** Random numbers in [0, 1). */
  readonly random: () => number;
  readonly handler: StackHandler;
  readonly writer: PacketWriter;
  readonly control: ControlQueue;
}
