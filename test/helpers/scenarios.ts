/**
 * Segments in, segments out, for whoever answers a TCP connection: our stack, and Linux. What both must say
 * alike is written once; where Linux says something else, both are there, and why.
 *
 * Windows and options are left out: they differ by nature.
 */
export type Move =
  /** Segments arrive, as one batch. */
  | readonly string[]
  /** What the owner of the connection does. */
  | {readonly write: number}
  | 'end'
  | 'reset';

export interface Step {
  readonly move: Move;
  readonly answer: readonly string[];
  /** What Linux says, where it isn't the same. */
  readonly linux?: readonly string[];
  /** Linux says it, but 40 ms later: it delays the ACK of a FIN, in the hope of data. */
  readonly isLate?: true;
}

export interface Scenario {
  /** The first word is the state. */
  readonly title: string;
  /** Nobody listens. */
  readonly isClosed?: boolean;
  /** The handshake comes first. */
  readonly isEstablished?: boolean;
  /** Why Linux differs. */
  readonly because?: string;
  readonly steps: readonly Step[];
}

const SYN = '< S 1000:1000(0) win 65535 <mss 1460>';
const SYN_ACK = '> S. 0:0(0) ack 1001';

/** A step in short. */
function step(move: Move | string, ...answer: string[]): Step {
  return {move: typeof move === 'string' && move.startsWith('<') ? [move] : (move as Move), answer};
}

export const HANDSHAKE: readonly Step[] = [step(SYN, SYN_ACK), step('< . 1001:1001(0) ack 1')];

const established = (title: string, ...steps: Step[]): Scenario => ({
  title: `ESTABLISHED: ${title}`,
  isEstablished: true,
  steps,
});

/** The other end closes first. */
const peerCloses: readonly Step[] = [
  {move: ['< F. 1001:1001(0) ack 1'], answer: ['> . 1:1(0) ack 1002'], isLate: true},
];

/** We close first, the other end follows. */
const timeWait = [
  step('end', '> F. 1:1(0) ack 1001'),
  step('< . 1001:1001(0) ack 2'),
  step('< F. 1001:1001(0) ack 2', '> . 2:2(0) ack 1002'),
];

const ACK = '> . 1:1(0) ack 1001';

export const SCENARIOS: readonly Scenario[] = [
  {
    title: 'CLOSED: a SYN is refused',
    isClosed: true,
    steps: [step(SYN, '> R. 0:0(0) ack 1001')],
  },
  {
    title: 'CLOSED: an ACK is answered by RST at its number',
    isClosed: true,
    steps: [step('< . 1000:1000(0) ack 77', '> R 77:77(0)')],
  },
  {
    title: 'CLOSED: what has no ACK is answered by RST that acknowledges it',
    isClosed: true,
    steps: [step('< FP 1000:1010(10)', '> R. 0:0(0) ack 1011')],
  },
  {
    title: 'CLOSED: a RST is not answered',
    isClosed: true,
    steps: [step(['< R 1000:1000(0)', '< R. 1000:1000(0) ack 5'])],
  },
  {
    title: 'LISTEN: text in a SYN is not taken',
    steps: [step('< S 1000:1100(100) win 65535 <mss 1460>', SYN_ACK)],
  },
  {
    title: 'LISTEN: options of fast open and MPTCP, and bad ones, are no reason to refuse',
    steps: [
      step('< S 1000:1000(0) win 65535 <mss 1460,raw 2202,raw 1e0c00010000000000000000>', SYN_ACK),
    ],
  },
  {
    title: 'LISTEN: an option of length 0 is no reason to refuse',
    steps: [step('< S 1000:1000(0) win 65535 <mss 1460,raw 0500>', SYN_ACK)],
  },
  {
    title: 'SYN-RECEIVED: a repeated SYN is answered by the same SYN-ACK',
    steps: [step(SYN, SYN_ACK), step(SYN, SYN_ACK)],
  },
  {
    title: 'SYN-RECEIVED: a wrong ACK is answered by RST, and the right one is still taken',
    steps: [
      step(SYN, SYN_ACK),
      step('< . 1001:1001(0) ack 2', '> R 2:2(0)'),
      step('< . 1001:1001(0) ack 1'),
      step('< P. 1001:1011(10) ack 1', '> . 1:1(0) ack 1011'),
    ],
  },
  {
    title: 'SYN-RECEIVED: an exact RST ends it',
    steps: [
      step(SYN, SYN_ACK),
      step('< R 1001:1001(0)'),
      step('< . 1001:1001(0) ack 1', '> R 1:1(0)'),
    ],
  },
  {
    title: 'SYN-RECEIVED: the ACK may bring data and FIN',
    steps: [
      step(SYN, SYN_ACK),
      {move: ['< FP. 1001:1011(10) ack 1'], answer: ['> . 1:1(0) ack 1012'], isLate: true},
    ],
  },
  established('text is acknowledged', step('< P. 1001:1011(10) ack 1', '> . 1:1(0) ack 1011')),
  established(
    'text out of order draws a duplicate ACK, and then one for all',
    step('< P. 1011:1021(10) ack 1', ACK),
    step('< P. 1001:1011(10) ack 1', '> . 1:1(0) ack 1021'),
  ),
  established(
    'text that is known already is acknowledged again',
    step('< P. 1001:1011(10) ack 1', '> . 1:1(0) ack 1011'),
    step('< P. 1001:1011(10) ack 1', '> . 1:1(0) ack 1011'),
  ),
  established(
    'of text that overlaps the rest is taken',
    step('< P. 1001:1011(10) ack 1', '> . 1:1(0) ack 1011'),
    step('< P. 1006:1026(20) ack 1', '> . 1:1(0) ack 1026'),
  ),
  established(
    'text beyond the window is answered by an ACK',
    step('< P. 1000001:1000011(10) ack 1', ACK),
  ),
  established('a keepalive without a byte is answered', step('< . 1000:1000(0) ack 1', ACK)),
  established('a keepalive of a byte is answered', step('< . 1000:1001(1) ack 1', ACK)),
  established(
    'an ACK of what was never sent is answered by an ACK',
    step('< . 1001:1001(0) ack 100', ACK),
  ),
  established('a segment without ACK is ignored', step('< P 1001:1011(10)')),
  established(
    'a RST in the window that is not exact is challenged, an exact one ends it',
    step('< R 1002:1002(0)', ACK),
    step('< R 1001:1001(0)'),
    step('< . 1001:1001(0) ack 1', '> R 1:1(0)'),
  ),
  established(
    'a RST outside of the window is dropped',
    step(['< R 1000:1000(0)', '< R 1000000:1000000(0)']),
    step('< . 1000:1000(0) ack 1', ACK),
  ),
  established('a SYN in the window is challenged', step('< S 1001:1001(0) win 1000', ACK)),
  established(
    'a SYN outside of the window is challenged',
    step('< S 7000000:7000000(0) win 9', ACK),
  ),
  established(
    'urgent data is acknowledged as any other',
    step('< PU. 1001:1011(10) ack 1', '> . 1:1(0) ack 1011'),
  ),
  established(
    'a FIN out of order waits for what is before it',
    step('< F. 1011:1011(0) ack 1', ACK),
    step('< P. 1001:1011(10) ack 1', '> . 1:1(0) ack 1012'),
  ),
  established('what is written is sent', step({write: 100}, '> P. 1:101(100) ack 1001')),
  established(
    'the other end closes first, and this one goes on for a while',
    ...peerCloses,
    step({write: 100}, '> P. 1:101(100) ack 1002'),
    step('< . 1002:1002(0) ack 101'),
    step('end', '> F. 101:101(0) ack 1002'),
    step('< . 1002:1002(0) ack 102'),
    step('< . 1002:1002(0) ack 102', '> R 102:102(0)'),
  ),
  established(
    'this end closes first, and the other one goes on for a while',
    step('end', '> F. 1:1(0) ack 1001'),
    step('< . 1001:1001(0) ack 2'),
    step('< P. 1001:1101(100) ack 2', '> . 2:2(0) ack 1101'),
    step('< F. 1101:1101(0) ack 2', '> . 2:2(0) ack 1102'),
  ),
  established('a reset is a RST at the next number', step('reset', '> R. 1:1(0) ack 1001')),
  {
    title: 'CLOSE-WAIT: a repeated FIN is acknowledged again',
    isEstablished: true,
    steps: [...peerCloses, step('< F. 1001:1001(0) ack 1', '> . 1:1(0) ack 1002')],
  },
  {
    title: 'CLOSE-WAIT: text after the FIN is not taken',
    isEstablished: true,
    because: 'Linux drops it in silence; that it is lost should not stay unknown',
    steps: [
      ...peerCloses,
      {move: ['< P. 1002:1012(10) ack 1'], answer: ['> R. 1:1(0) ack 1002'], linux: []},
    ],
  },
  {
    title: 'FIN-WAIT-1: FINs that cross are acknowledged both',
    isEstablished: true,
    steps: [
      step('end', '> F. 1:1(0) ack 1001'),
      step('< F. 1001:1001(0) ack 1', '> . 2:2(0) ack 1002'),
    ],
  },
  {
    title: 'LAST-ACK: the ACK of the FIN ends it',
    isEstablished: true,
    steps: [
      ...peerCloses,
      step('end', '> F. 1:1(0) ack 1002'),
      step('< . 1002:1002(0) ack 2'),
      step('< . 1002:1002(0) ack 2', '> R 2:2(0)'),
    ],
  },
  {
    title: 'TIME-WAIT: a repeated FIN is acknowledged again',
    isEstablished: true,
    steps: [...timeWait, step('< F. 1001:1001(0) ack 2', '> . 2:2(0) ack 1002')],
  },
  {
    title: 'TIME-WAIT: a SYN above the old numbers begins anew',
    isEstablished: true,
    steps: [...timeWait, step('< S 5000:5000(0) win 65535 <mss 1460>', '> S. 0:0(0) ack 5001')],
  },
  {
    title: 'TIME-WAIT: a SYN below the old numbers is answered by an ACK',
    isEstablished: true,
    steps: [...timeWait, step('< S 500:500(0) win 65535 <mss 1460>', '> . 2:2(0) ack 1002')],
  },
  {
    title: 'TIME-WAIT: an exact RST ends it',
    isEstablished: true,
    steps: [...timeWait, step('< R 1002:1002(0)'), step('< . 1002:1002(0) ack 2', '> R 2:2(0)')],
  },
];

/** A segment without its window and options. */
export function withoutWindow(line: string): string {
  return line.replace(/ win \d+.*$/, '');
}
