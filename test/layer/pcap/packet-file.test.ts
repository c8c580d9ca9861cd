import {execFileSync} from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import test from 'ava';
import {PacketFile} from '../../../layer/pcap/packet-file.ts';

const directory = mkdtempSync(join(os.tmpdir(), 'mirrord-test-'));
test.after.always(() => rmSync(directory, {recursive: true}));

test('blocks are in the file in their order, once it is closed', async (t) => {
  const path = join(directory, 'blocks');
  const block = new Uint8Array(100_000);
  {
    await using file = await PacketFile.open(path);
    for (let i = 0; i < 100; i++) {
      file.add(block.fill(i));
      if (i % 25 === 0) await new Promise(setImmediate);
    }
    t.is(file.counters.left, 0);
  }
  const bytes = readFileSync(path);
  t.is(bytes.length, 100 * block.length);
  for (let i = 0; i < 100; i++)
    t.true(bytes.subarray(i * 100_000, (i + 1) * 100_000).every((b) => b === i));
});

test('what there is no room for is left out whole, and counted', async (t) => {
  const path = join(directory, 'slow');
  const block = new Uint8Array(500_000);
  let left = 0;
  {
    await using file = await PacketFile.open(path);
    // Nothing is written before this turn ends.
    for (let i = 0; i < 100; i++) file.add(block);
    left = file.counters.left;
  }
  t.true(left > 0);
  t.is(readFileSync(path).length, (100 - left) * block.length);
});

test('the file is for its owner only, also one that was there, which is emptied', async (t) => {
  const path = join(directory, 'old');
  writeFileSync(path, 'old content');
  chmodSync(path, 0o644);
  {
    await using _file = await PacketFile.open(path);
  }
  t.is(statSync(path).mode & 0o777, 0o600);
  t.is(statSync(path).size, 0);
});

test('directories, devices and FIFOs are refused, and so is a place that is not there', async (t) => {
  mkdirSync(join(directory, 'directory'));
  execFileSync('mkfifo', [join(directory, 'fifo')]);
  const reasons = {
    directory: 'EISDIR',
    fifo: 'ENXIO',
    'none/file': 'ENOENT',
    device: 'it is no regular file',
  };
  symlinkSync('/dev/null', join(directory, 'device'));
  for (const [name, reason] of Object.entries(reasons)) {
    const path = join(directory, name);
    await t.throwsAsync(PacketFile.open(path), {
      code: 'MIRRORD_PCAP_UNWRITABLE',
      message: `can't write the packets to ${path}: ${reason}`,
    });
  }
});

test('on a full disk the file ends with a whole block, and the rest is counted', async (t) => {
  // A limit of the file's size stands for the disk's; Node ignores SIGXFSZ.
  const script = `
    import {PacketFile} from ${JSON.stringify(new URL('../../../layer/pcap/packet-file.ts', import.meta.url))};
    const path = process.argv[1];
    let file;
    {
      await using opened = await PacketFile.open(path);
      file = opened;
      for (let i = 0; i < 50; i++) {
        opened.add(new Uint8Array(30_000));
        await new Promise(setImmediate);
      }
    }
    console.log(file.failure?.code, file.counters.left, file.counters.bytes);`;
  const path = join(directory, 'full');
  const limited = 'ulimit -f 1000; exec "$@"';
  const node = [process.execPath, '--input-type=module', '-e', script, path];
  const said = execFileSync('bash', ['-c', limited, 'bash', ...node], {encoding: 'utf8'});
  const [code, left, bytes] = said.trim().split(' ');
  t.is(code, 'EFBIG');
  t.is(statSync(path).size, Number(bytes));
  t.is(Number(bytes) / 30_000 + Number(left), 50);
  t.true(Number(left) > 0 && Number(bytes) > 0);
});
