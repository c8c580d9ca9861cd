import test from 'ava';
import {Rig} from '../../helpers/netstack.ts';

/**
 * Every synchronized state meets every kind of segment: what RFC 9293, section 3.10.7.4, and RFC 5961
 * ask for, and nothing else. The window is 1 MiB wide.
 */
interface State {
  readonly name: string;
  /** SND.NXT, relative to the ISS. */
  readonly snd: number;
  /** SND.UNA. */
  readonly una: number;
  /** RCV.NXT. */
  readonly rcv: number;
  readonly enter: (rig: Rig) => void;
}

const close = (rig: Rig): void => {
  rig.flow.end();
  rig.take();
};
const peerCloses = (rig: Rig): void => {
  rig.tcp('< F. 1001:1001(0) ack 1');
};
const peerAcknowledges = (rig: Rig): void => {
  rig.tcp('< . 1001:1001(0) ack 2');
};

const STATES: readonly State[] = [
  {name: 'ESTABLISHED', snd: 1, una: 1, rcv: 1001, enter: () => {}},
  {name: 'FIN-WAIT-1', snd: 2, una: 1, rcv: 1001, enter: close},
  {
    name: 'FIN-WAIT-2',
    snd: 2,
    una: 2,
    rcv: 1001,
    enter(rig) {
      close(rig);
      peerAcknowledges(rig);
    },
  },
  {name: 'CLOSE-WAIT', snd: 1, una: 1, rcv: 1002, enter: peerCloses},
  {
    name: 'CLOSING',
    snd: 2,
    una: 1,
    rcv: 1002,
    enter(rig) {
      close(rig);
      peerCloses(rig);
    },
  },
  {
    name: 'LAST-ACK',
    snd: 2,
    una: 1,
    rcv: 1002,
    enter(rig) {
      peerCloses(rig);
      close(rig);
    },
  },
  {
    name: 'TIME-WAIT',
    snd: 2,
    una: 2,
    rcv: 1002,
    enter(rig) {
      close(rig);
      rig.tcp('< F. 1001:1001(0) ack 2');
    },
  },
];

/** A connection in that state, with nothing to be sent at the moment. */
function enter(state: State): Rig {
  const rig = new Rig();
  rig.establish();
  state.enter(rig);
  rig.take();
  rig.log.events.length = 0;
  // Past the pause between challenges, before any retransmission.
  rig.now += 100;
  return rig;
}

for (const state of STATES) {
  const {name, snd, una, rcv} = state;
  const ended = rcv === 1002;
  const isTimeWait = name === 'TIME-WAIT';
  const ack = `> . ${snd}:${snd}(0) ack ${rcv} win 8192`;
  const at = (flags: string, seq: number, length = 0, acked = una): string =>
    `< ${flags} ${seq}:${seq + length}(${length}) ack ${acked}`;

  test(`${name}: an ACK of what was never sent ${isTimeWait ? 'is ignored' : 'is answered by an ACK'}`, (t) => {
    const rig = enter(state);
    t.deepEqual(rig.tcp(at('.', rcv, 0, snd + 1)), isTimeWait ? [] : [ack]);
    t.deepEqual(rig.log.events, []);
  });

  test(`${name}: text beyond the window is answered by an ACK`, (t) => {
    const rig = enter(state);
    t.deepEqual(rig.tcp(at('P.', rcv + (1 << 20) + 1, 10)), [ack]);
    t.deepEqual(rig.log.events, []);
  });

  test(`${name}: text that is known already is acknowledged again, and not delivered`, (t) => {
    const rig = enter(state);
    t.deepEqual(rig.tcp(at('P.', rcv - 10, 10)), [ack]);
    t.deepEqual(rig.log.events, []);
  });

  for (const length of [0, 1]) {
    test(`${name}: a keepalive of ${length} bytes is answered at once`, (t) => {
      const rig = enter(state);
      t.deepEqual(rig.tcp(at('.', rcv - 1, length)), [ack]);
      t.deepEqual(rig.log.events, []);
    });
  }

  test(`${name}: a SYN below the window is challenged`, (t) => {
    const rig = enter(state);
    t.deepEqual(rig.tcp('< S 500:500(0) win 65535'), [ack]);
    t.deepEqual(rig.log.events, []);
  });

  test(`${name}: a RST beyond the window is dropped`, (t) => {
    const rig = enter(state);
    t.deepEqual(rig.tcp(at('R.', rcv + (1 << 20) + 1), at('R', rcv - 1)), []);
    t.deepEqual(rig.log.events, []);
    t.deepEqual(rig.tcp(at('.', rcv - 1)), [ack], 'the connection lives on');
  });

  test(`${name}: an exact RST ends it`, (t) => {
    const rig = enter(state);
    t.deepEqual(rig.tcp(at('R.', rcv)), []);
    // In CLOSING and LAST-ACK everything has been said, and acknowledged but for the FIN.
    const isClosing = name === 'CLOSING' || name === 'LAST-ACK';
    t.deepEqual(rig.log.events, isTimeWait ? [] : isClosing ? ['close'] : ['reset']);
    t.is(rig.stack.pollAt(), undefined);
  });

  test(`${name}: a segment without ACK is ignored`, (t) => {
    const rig = enter(state);
    t.deepEqual(rig.tcp(`< P ${rcv}:${rcv}(0)`), []);
    t.deepEqual(rig.log.events, []);
  });

  if (ended) {
    test(`${name}: a repeated FIN is acknowledged again`, (t) => {
      const rig = enter(state);
      t.deepEqual(rig.tcp(at('F.', 1001)), [ack]);
      t.deepEqual(rig.log.events, []);
    });
  }

  if (ended && !isTimeWait) {
    test(`${name}: text after the FIN is answered by RST`, (t) => {
      const rig = enter(state);
      t.deepEqual(rig.tcp(at('P.', rcv, 10)), [`> R. ${snd}:${snd}(0) ack ${rcv} win 8192`]);
      t.deepEqual(rig.log.events, ['reset']);
      t.is(rig.stack.pollAt(), undefined);
    });
  }

  if (snd !== una) {
    test(`${name}: a lost FIN is sent again, with back-off`, (t) => {
      const rig = enter(state);
      const fin = `> F. 1:1(0) ack ${rcv} win 8192`;
      // It was first sent 100 ms ago.
      for (const gap of [100, 400, 800, 1_600]) {
        rig.advance(gap - 1);
        t.deepEqual(rig.takeText(), [], `before ${gap}`);
        rig.advance(1);
        t.deepEqual(rig.takeText(), [fin], `after ${gap}`);
      }
      rig.tcp(at('.', rcv, 0, 2));
      rig.advance(100_000);
      t.deepEqual(rig.takeText(), []);
    });
  }
}
