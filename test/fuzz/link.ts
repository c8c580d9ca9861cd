/**
 * Two stacks back to back, over links that nobody has thought of: a round is one plan.
 */
import {type EndPlan, type LinkPlan, simulateLink} from '../helpers/back-to-back.ts';
import {Dice, type FuzzTarget} from './fuzzer.ts';

function drawEnd(dice: Dice): EndPlan {
  return {
    send: dice.below(dice.of(4, 3_000, 60_000)),
    chunk: 1 + dice.below(dice.of(3, 9_000)),
    credit: dice.of(512, 4_000, 65_536, 200_000) + dice.below(1_000),
    readMs: dice.below(50),
    belowWrap: dice.chance(0.3) ? dice.below(60_000) : undefined,
  };
}

export const linkTarget: FuzzTarget<LinkPlan> = {
  name: 'link',
  generate(random) {
    const dice = new Dice(random);
    const upTo = (most: number): number => (dice.chance(0.5) ? 0 : dice.random() * most);
    return [
      {
        seed: dice.below(2 ** 31),
        version: dice.of(4, 6),
        mtu: dice.of(1280, 1500, 9000, 65_520),
        gso: dice.chance(0.5),
        loss: upTo(0.12),
        duplicate: upTo(0.4),
        reorder: upTo(0.6),
        corrupt: upTo(0.08),
        full: upTo(0.7),
        delay: dice.of(0, 1, 40),
        client: drawEnd(dice),
        server: drawEnd(dice),
      },
    ];
  },
  run([plan]) {
    const failure = plan && simulateLink(plan);
    if (failure !== undefined) throw new Error(failure);
  },
};
