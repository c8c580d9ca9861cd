import test from 'ava';
import {replaceNsswitch} from '../../../layer/sandbox/resolver.ts';

test('a hosts line with files and dns only is left alone', (t) => {
  t.is(replaceNsswitch('passwd: files\nhosts:          files dns\n'), undefined);
});

test('sources that answer from this machine are replaced, the other databases are not', (t) => {
  const text =
    'passwd: files systemd\nhosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\nnetworks: files\n';
  t.is(replaceNsswitch(text), 'passwd: files systemd\nhosts: files dns\nnetworks: files\n');
});

for (const source of ['mdns4_minimal', 'mdns', 'myhostname', 'resolve', 'libvirt_guest']) {
  test(`${source} leads past the pod's resolver`, (t) => {
    t.is(replaceNsswitch(`hosts: files ${source} dns`), 'hosts: files dns');
  });
}

test('a comment is no source', (t) => {
  t.is(replaceNsswitch('hosts: files dns # not mdns'), undefined);
  t.is(replaceNsswitch('#hosts: resolve'), undefined);
});
