import test from 'ava';
import {useDemo} from '../helpers/e2e.ts';

const demo = useDemo(test, {programs: ['connect.c', 'fetch', 'Fetch.java']});

test.serial("a static Go program reaches a service by Go's own resolver", async (t) => {
  const fetch = demo.program('fetch');
  const output = await demo.exec([fetch, 'http://orders/'], {env: {GODEBUG: 'netdns=go'}});
  t.regex(output, /^200 \[10\.96\.0\.21\] \{"pod":"orders-[01]"/);
});

test.serial('a static Go program reaches a service over IPv6', async (t) => {
  const output = await demo.exec([demo.program('fetch'), 'http://v6/']);
  t.regex(output, /^200 \[fd00:10:96::24\] \{"pod":"v6"/);
});

test.serial('a static C program reaches a service and a pod', async (t) => {
  const targets = ['tcp', '10.96.0.21', '80', 'tcp', 'fd00:10:244::15', '8080'];
  t.is(await demo.exec([demo.program('connect'), ...targets]), 'ok\nok\n');
});

test.serial('Python reaches a service and has the name of the pod', async (t) => {
  const output = await demo.exec(['python3', demo.program('client.py'), 'fetch', 'http://orders/']);
  t.regex(output, /^200 gateway \{"pod":"orders-[01]"/);
});

test.serial('Python reaches a service over IPv6', async (t) => {
  const output = await demo.exec(['python3', demo.program('client.py'), 'fetch', 'http://v6/']);
  t.regex(output, /^200 gateway \{"pod":"v6"/);
});

test.serial("Java's HttpClient reaches a service and has the name of the pod", async (t) => {
  const output = await demo.exec(['java', '-cp', demo.program('.'), 'Fetch', 'http://orders/']);
  t.regex(output, /^200 gateway \{"pod":"orders-[01]"/);
});

test.serial("Node's fetch reaches a service", async (t) => {
  const script = "console.log((await (await fetch('http://orders/')).json()).pod)";
  const output = await demo.exec([demo.nodePath, '--input-type=module', '-e', script]);
  t.regex(output, /^orders-[01]\n$/);
});

test.serial('a WebSocket carries texts and bytes both ways', async (t) => {
  const script = demo.program('chat.ts');
  t.is(await demo.exec([demo.nodePath, script, 'ws://chat/']), 'text true\nbytes true\n');
});
