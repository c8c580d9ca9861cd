import test from 'ava';
import {Rig, stream} from '../../helpers/netstack.ts';
import {HANDSHAKE, type Move, SCENARIOS, withoutWindow} from '../../helpers/scenarios.ts';

/** `test/platform/scenarios.test.ts` asks Linux the same. */
function play(rig: Rig, move: Move, written: {bytes: number}): string[] {
  if (move === 'end') rig.flow.end();
  else if (move === 'reset') rig.flow.reset();
  else if ('write' in move) {
    rig.flow.write(stream(written.bytes, move.write));
    written.bytes += move.write;
  } else {
    for (const line of move) rig.inject(rig.build(line));
  }
  return rig.takeText().map(withoutWindow);
}

for (const {title, isClosed = false, isEstablished = false, steps} of SCENARIOS) {
  test(title, (t) => {
    const rig = isClosed ? new Rig({onTcp: (flow) => flow.refuse('ECONNREFUSED')}) : new Rig();
    const written = {bytes: 0};
    for (const {move, answer} of isEstablished ? [...HANDSHAKE, ...steps] : steps) {
      t.deepEqual(play(rig, move, written), answer, JSON.stringify(move));
    }
  });
}
