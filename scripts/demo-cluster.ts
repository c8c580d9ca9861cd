/**
 * The demo on Kubernetes: brings the test cluster up, gives it the agent's image, and runs
 * `scripts/look-around` outside and inside a pod of the deployment `gateway`.
 */

import {ClusterError} from '../test/cluster/node/process.ts';
import {giveAgentImage} from '../test/helpers/agent-image.ts';
import {TestCluster} from '../test/helpers/cluster.ts';
import {clusterUser} from './lib/cluster-user.ts';
import {suggest, tell} from './lib/look-around.ts';

const target = 'deployment/gateway';
const flags = ['-n', 'demo'];

/** A step that may take its time, told on standard error. */
async function step<T>(what: string, work: Promise<T>): Promise<T> {
  process.stderr.write(`demo: ${what}\n`);
  return await work;
}

async function demo(): Promise<void> {
  const cluster = new TestCluster();
  await step('starting Kubernetes; the first time it is built, which takes minutes', cluster.up());
  const image = await step("giving it the agent's image", giveAgentImage(cluster));
  await step('starting the pods of the namespace demo', cluster.useDemo());
  const {prefix, variables} = clusterUser(image);
  console.log('\nA Kubernetes cluster runs on this machine now. The same program, run twice:\n');
  tell({target, flags, prefix, env: {...process.env, ...variables}});
  const exports = ['KUBECONFIG', 'MIRRORD_AGENT_IMAGE'].map((name) => `${name}=${variables[name]}`);
  const name = process.env['MIRRORD_TEST_CLUSTER'];
  const named = name ? `MIRRORD_TEST_CLUSTER=${name} ` : '';
  const down = `${prefix.length > 0 ? 'sudo ' : ''}${named}scripts/cluster down`;
  const commands = suggest({
    'npx mirrord ls -n demo': 'what can be a target',
    [`npx mirrord exec -t ${target} -n demo -- curl -s http://orders/`]: 'any command',
    [`npx mirrord exec -t ${target} -n demo -e -- bash`]: 'by an ephemeral container',
    [down]: 'ends it; nothing stays',
  });
  console.log(`\nYours to try:\n  export ${exports.join('\n  export ')}\n${commands}`);
}

try {
  await demo();
} catch (error) {
  if (!(error instanceof ClusterError)) throw error;
  process.stderr.write(`demo: ${error.message}\n`);
  process.exitCode = 1;
}
