import test from 'ava';
import {useDemo} from '../helpers/e2e.ts';
import {useSession} from '../helpers/session.ts';

const demo = useDemo(test);
const session = useSession(test, demo);

const orders = 'orders.default.svc.cluster.local';

async function dig(...question: string[]): Promise<string> {
  return (await session.exec(['dig', '+time=5', '+tries=2', ...question])).trim();
}

for (const transport of ['+notcp', '+tcp']) {
  const name = transport === '+tcp' ? 'TCP' : 'UDP';

  test.serial(`over ${name}: an A record is the address of the service`, async (t) => {
    t.is(await dig(transport, '+short', orders, 'A'), '10.96.0.21');
  });

  test.serial(`over ${name}: an AAAA record is the IPv6 address of the service`, async (t) => {
    t.is(await dig(transport, '+short', 'v6.default.svc.cluster.local', 'AAAA'), 'fd00:10:96::24');
  });

  test.serial(`over ${name}: SRV records tell port and pods of a headless service`, async (t) => {
    const answer = await dig(
      transport,
      '+short',
      '_http._tcp.orders-headless.default.svc.cluster.local',
      'SRV',
    );
    const records = answer.split('\n');
    t.is(records.length, 2);
    for (const record of records)
      t.regex(record, /^\d+ \d+ 8080 \S+\.orders-headless\.default\.svc\.cluster\.local\.$/);
  });

  test.serial(`over ${name}: a name that isn't there is NXDOMAIN`, async (t) => {
    const answer = await dig(transport, 'nobody.default.svc.cluster.local', 'A');
    t.regex(answer, /status: NXDOMAIN/);
    t.regex(answer, new RegExp(`SERVER: 10\\.96\\.0\\.10#53\\(10\\.96\\.0\\.10\\) \\(${name}\\)`));
  });
}

test.serial('a name without dots is completed by the search domains', async (t) => {
  t.is(await dig('+search', '+short', 'orders', 'A'), '10.96.0.21');
  t.regex(await session.exec(['getent', 'ahostsv4', 'orders']), /^10\.96\.0\.21 /);
});

test.serial('a name with fewer dots than ndots is completed first', async (t) => {
  // Four dots or fewer, with ndots:5: kube-dns.kube-system is found by the domain svc.cluster.local.
  t.regex(await session.exec(['getent', 'ahostsv4', 'kube-dns.kube-system']), /^10\.96\.0\.10 /);
  t.regex(await session.exec(['getent', 'ahostsv4', 'orders.default.svc']), /^10\.96\.0\.21 /);
});

test.serial('a name that ends in a dot is not completed', async (t) => {
  const {status, stdout} = await session.run(['getent', 'ahostsv4', 'orders.']);
  t.is(stdout, '');
  t.is(status, 2);
  t.regex(await session.exec(['getent', 'ahostsv4', `${orders}.`]), /^10\.96\.0\.21 /);
});

test.serial('an alias leads to the service that it names', async (t) => {
  t.is(
    await dig('+short', 'shop.default.svc.cluster.local', 'A'),
    'gateway.default.svc.cluster.local.\n10.96.0.20',
  );
});

test.serial('a headless service has the addresses of its pods', async (t) => {
  const addresses = (await dig('+short', 'orders-headless.default.svc.cluster.local', 'A')).split(
    '\n',
  );
  t.deepEqual(addresses.sort(), ['10.244.0.11', '10.244.0.12']);
});

test.serial('the same names have the same addresses as inside the pod', async (t) => {
  const gateway = await demo.pod('gateway');
  for (const name of [
    orders,
    'gateway.default.svc.cluster.local',
    'payments.default.svc.cluster.local',
  ]) {
    const question = ['dig', '+short', '@10.96.0.10', name, 'A', name, 'AAAA'];
    t.is(await session.exec(question), (await demo.inPod(gateway, question)).stdout);
  }
});
