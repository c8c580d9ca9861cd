/** What is measured of files: for each row, what is prepared, what is asked of the probe, and what its time means. */

export interface Amounts {
  /** MiB of the large file. */
  readonly mebibytes: number;
  /** MiB that are written by 4 KiB: more make OpenSSH's sftp-server slower and slower, which copies all that waits. */
  readonly smallMebibytes: number;
  /** Blocks of 4 KiB, and of 1 MiB, from anywhere. */
  readonly smallPicks: number;
  readonly largePicks: number;
  /** Files that are looked at, and that are opened or made. */
  readonly looks: number;
  readonly files: number;
  /** Of these, files that are read byte by byte. */
  readonly bytewise: number;
}

/** Less where each step takes a round trip, so that a run ends. */
export function amounts(roundTripMs: number): Amounts {
  const common = {smallMebibytes: 16, bytewise: 100};
  if (roundTripMs < 1) {
    return {...common, mebibytes: 256, smallPicks: 4000, largePicks: 128, looks: 5000, files: 1000};
  }
  if (roundTripMs < 10) {
    return {...common, mebibytes: 128, smallPicks: 1000, largePicks: 64, looks: 2000, files: 1000};
  }
  return {...common, mebibytes: 64, smallPicks: 200, largePicks: 32, looks: 500, files: 200};
}

/** Of the tree that is searched: 50 directories of 1000 files. */
export const treeDirectories = 50;
const treeFiles = 1000;

/** Where a row works: the large file, and a place that no other run or contender has. */
export interface Place {
  readonly large: string;
  readonly own: string;
}

export interface Row {
  readonly id: string;
  readonly title: string;
  readonly unit: 'MiB/s' | 'ms' | 's' | '1000/s';
  /** What is made without the contender, in its own place. */
  readonly prepare?: (own: string, amounts: Amounts) => string[];
  /** What the contender does before, untimed. */
  readonly before?: (place: Place, amounts: Amounts) => string[];
  readonly command: (place: Place, amounts: Amounts) => string;
  /** What is done in the time. */
  readonly count: (amounts: Amounts) => number;
  readonly digits: number;
}

const mebibyte = 1_048_576;
const forget = ({large}: Place): string[] => [`forget ${large}`];
const made = (file: string): string => `${file}.made`;

function throughput(
  id: string,
  title: string,
  rest: Pick<Row, 'before' | 'command' | 'count'> & {readonly digits?: number},
): Row {
  return {id, title, unit: 'MiB/s', digits: 1, ...rest};
}

function perFile(
  id: string,
  title: string,
  rest: Pick<Row, 'prepare' | 'before' | 'command' | 'count'>,
): Row {
  return {id, title, unit: 'ms', digits: 3, ...rest};
}

const lookedAt = (own: string, {looks}: Amounts): string[] => [`fill ${own} ${looks} 0`];
const filled = (own: string, {files}: Amounts): string[] => [`fill ${own} ${files} 4096`];
const tree = (own: string): string[] => [
  `run mkdir ${own}`,
  ...Array.from({length: treeDirectories}, (_, index) => `fill ${own}/${index} ${treeFiles} 0`),
];
const search = ({own}: Place): string => `run find ${own} -size +1`;

export const rows: readonly Row[] = [
  throughput('read-1m', 'read in order, 1 MiB at a time', {
    before: forget,
    command: ({large}) => `read ${large} ${mebibyte}`,
    count: ({mebibytes}) => mebibytes,
  }),
  throughput('read-4k', 'read in order, 4 KiB at a time', {
    before: forget,
    command: ({large}) => `read ${large} 4096`,
    count: ({mebibytes}) => mebibytes,
  }),
  throughput('read-again', '– once more (warm)', {
    // Right before: the machine itself may take pages from the cache again within seconds (DAMON).
    before: ({large}) => [`read ${large} 4096`],
    command: ({large}) => `read ${large} 4096`,
    count: ({mebibytes}) => mebibytes,
  }),
  throughput('pick-1m', 'read anywhere, 1 MiB at a time', {
    before: forget,
    command: ({large}, {largePicks}) => `pick ${large} ${mebibyte} ${largePicks}`,
    count: ({largePicks}) => largePicks,
  }),
  throughput('pick-4k', 'read anywhere, 4 KiB at a time', {
    digits: 2,
    before: forget,
    command: ({large}, {smallPicks}) => `pick ${large} 4096 ${smallPicks}`,
    count: ({smallPicks}) => (smallPicks * 4096) / mebibyte,
  }),
  throughput('write-1m', 'write in order, 1 MiB at a time', {
    command: ({own}, {mebibytes}) => `write ${made(own)} ${mebibytes * mebibyte} ${mebibyte}`,
    count: ({mebibytes}) => mebibytes,
  }),
  throughput('write-4k', 'write in order, 4 KiB at a time', {
    command: ({own}, {smallMebibytes}) => `write ${made(own)} ${smallMebibytes * mebibyte} 4096`,
    count: ({smallMebibytes}) => smallMebibytes,
  }),
  throughput('rewrite-1m', 'write anywhere, 1 MiB at a time', {
    command: ({large}, {largePicks}) => `rewrite ${large} ${mebibyte} ${largePicks}`,
    count: ({largePicks}) => largePicks,
  }),
  throughput('rewrite-4k', 'write anywhere, 4 KiB at a time', {
    command: ({large}, {smallPicks}) => `rewrite ${large} 4096 ${smallPicks}`,
    count: ({smallPicks}) => (smallPicks * 4096) / mebibyte,
  }),
  perFile('stat', 'stat a file', {
    prepare: lookedAt,
    command: ({own}, {looks}) => `stat ${own} ${looks}`,
    count: ({looks}) => looks,
  }),
  perFile('stat-again', '– once more (warm)', {
    prepare: lookedAt,
    before: ({own}, {looks}) => [`stat ${own} ${looks}`],
    command: ({own}, {looks}) => `stat ${own} ${looks}`,
    count: ({looks}) => looks,
  }),
  perFile('slurp', 'open, read, close a file of 4 KiB', {
    prepare: filled,
    command: ({own}, {files}) => `slurp ${own} ${files} 65536`,
    count: ({files}) => files,
  }),
  perFile('slurp-again', '– once more (warm)', {
    prepare: filled,
    before: ({own}, {files}) => [`slurp ${own} ${files} 65536`],
    command: ({own}, {files}) => `slurp ${own} ${files} 65536`,
    count: ({files}) => files,
  }),
  // Of 4,096 system calls, which take longer than all else where there is no delay.
  perFile('bytes', '– byte by byte', {
    prepare: filled,
    command: ({own}, {bytewise}) => `slurp ${own} ${bytewise} 1`,
    count: ({bytewise}) => bytewise,
  }),
  perFile('fill', 'make, write, close a file of 4 KiB', {
    command: ({own}, {files}) => `fill ${own} ${files} 4096`,
    count: ({files}) => files,
  }),
  {
    id: 'find',
    title: 'find -size in 50,000 files',
    unit: 's',
    digits: 2,
    prepare: tree,
    command: search,
    count: () => 1,
  },
  {
    id: 'find-again',
    title: '– once more (warm)',
    unit: 's',
    digits: 2,
    prepare: tree,
    before: (place) => [search(place)],
    command: search,
    count: () => 1,
  },
];

/** What a time means in the row's unit. */
export function inUnit(row: Row, seconds: number, much: Amounts): number {
  const count = row.count(much);
  return row.unit === 'MiB/s' ? count / seconds : ((row.unit === 's' ? 1 : 1000) * seconds) / count;
}

/** How many times as fast one is as the other. */
export function advantage(row: Row, ours: number, theirs: number): number {
  return row.unit === 'MiB/s' ? ours / theirs : theirs / ours;
}
