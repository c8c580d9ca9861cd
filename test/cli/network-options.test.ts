import test from 'ava';
import {prepareConfig} from '../../cli/config/prepare.ts';
import {debuggerPorts, networkOptions} from '../../cli/network-options.ts';
import {defaultNetwork} from '../../layer/routing/options.ts';

/** The network of a configuration that is given by variables. */
function optionsOf(env: Record<string, string>) {
  const {config} = prepareConfig({
    file: undefined,
    env: {MIRRORD_IMPERSONATED_TARGET: 'demo/gateway', ...env},
    flags: [],
  });
  return networkOptions(config, []);
}

test('by default everything is as in the pod', (t) => {
  t.deepEqual(optionsOf({}), defaultNetwork);
});

test('each variable turns its own part off', (t) => {
  t.deepEqual(optionsOf({MIRRORD_TCP_OUTGOING: 'false'}), {...defaultNetwork, tcp: false});
  t.deepEqual(optionsOf({MIRRORD_UDP_OUTGOING: 'false'}), {...defaultNetwork, udp: false});
  t.deepEqual(optionsOf({MIRRORD_ENABLE_IPV6: 'false'}), {...defaultNetwork, ipv6: false});
  t.deepEqual(optionsOf({MIRRORD_REMOTE_DNS: 'false'}), {
    ...defaultNetwork,
    dns: {isEnabled: false},
  });
});

test('ports that are told and ports that are found make one list', (t) => {
  const env = {MIRRORD_IGNORE_DEBUGGER_PORTS: '80-81', MIRRORD_DETECT_DEBUGGER_PORT: 'PyDevD'};
  t.deepEqual(debuggerPorts({argv: ['pydevd.py', '--port', '99'], env}), {
    ports: [
      {first: 80, last: 81},
      {first: 99, last: 99},
    ],
    warnings: [],
  });
});
