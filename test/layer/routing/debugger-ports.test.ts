import test from 'ava';
import {
  type DebuggerKind,
  detectPorts,
  parsePortRanges,
} from '../../../layer/routing/debugger-ports.ts';

test('ports and ranges are told apart by commas', (t) => {
  t.deepEqual(parsePortRanges('1234, 35000-65535,'), {
    ranges: [
      {first: 1234, last: 1234},
      {first: 35_000, last: 65_535},
    ],
    problems: [],
  });
});

test('what is no port is named, the rest counts', (t) => {
  for (const bad of ['x', '0', '65536', '5-3', '1-2-3', '-5', '1.5', '1e3']) {
    t.deepEqual(parsePortRanges(`80,${bad}`), {ranges: [{first: 80, last: 80}], problems: [bad]});
  }
});

const cases: [DebuggerKind, string, number[], Record<string, string>?][] = [
  ['debugpy', 'python3 /x/debugpy --connect 127.0.0.1:57141 --configure-qt none main.py', [57_141]],
  ['debugpy', 'python3 -m debugpy --listen 5678 main.py', [5678]],
  ['debugpy', 'python3 main.py --connect 127.0.0.1:57141', []],
  [
    'pydevd',
    'python3 /x/pydevd.py --multiprocess --client 127.0.0.1 --port 32845 --file m.py',
    [32_845],
  ],
  ['pydevd', 'python3 main.py --port 80', []],
  [
    'resharper',
    'dotnet x.dll --mode=client --frontend-port=40905 --backend-port=44000',
    [40_905, 44_000],
  ],
  [
    'javaagent',
    'java -agentlib:jdwp=transport=dt_socket,server=n,suspend=y,address=127.0.0.1:54898 A',
    [54_898],
  ],
  ['javaagent', 'java -agentlib:jdwp=transport=dt_socket,server=y,address=*:5005 A', [5005]],
  [
    'javaagent',
    'java A',
    [5006],
    {JAVA_TOOL_OPTIONS: '-Xmx1g -agentlib:jdwp=server=n,address=[::1]:5006'},
  ],
  ['nodeinspector', 'node --inspect main.js', [9229]],
  ['nodeinspector', 'node --inspect-brk=0.0.0.0:9230 main.js', [9230]],
  ['nodeinspector', 'node --inspect-wait=9231 --inspect-port=9232 main.js', [9232, 9231]],
  ['nodeinspector', 'node --inspect=0 main.js', []],
  ['nodeinspector', 'node main.js', [9233], {NODE_OPTIONS: '--inspect=127.0.0.1:9233'}],
  ['rustrover', '/opt/x/bin/lldb/linux/x64/bin/LLDBFrontend 40905', [40_905]],
];

for (const [kind, command, ports, env = {}] of cases) {
  const note = Object.entries(env).map(([name, value]) => `${name}=${value} `);
  test(`${kind} in: ${note.join('')}${command}`, (t) => {
    t.deepEqual(
      detectPorts(kind, {argv: command.split(' '), env}),
      ports.map((port) => ({first: port, last: port})),
    );
  });
}
