/**
 * `mirrord rbac`: the least roles that a person needs to use mirrord, as YAML for kubectl.
 */

import {Command, Option} from 'commander';
import {Document, isScalar, visit} from 'yaml';
import {leastRoles, optionalRole, type RbacMode, rbacModes} from '../kube/rbac.ts';

interface RbacFlags {
  mode: RbacMode;
  targetNamespace: string;
  agentNamespace?: string;
  user?: string;
  group?: string;
  optional?: boolean;
}

/** What gives a role to somebody; nothing if nobody is named. */
function bindings(
  role: {kind: string; metadata: {name: string; namespace?: string}},
  {user, group}: RbacFlags,
): object[] {
  const apiGroup = 'rbac.authorization.k8s.io';
  const subjects = [
    ...(user === undefined ? [] : [{kind: 'User', name: user, apiGroup}]),
    ...(group === undefined ? [] : [{kind: 'Group', name: group, apiGroup}]),
  ];
  if (subjects.length === 0) return [];
  const {kind, metadata} = role;
  return [
    {
      apiVersion: `${apiGroup}/v1`,
      kind: `${kind}Binding`,
      metadata,
      roleRef: {apiGroup, kind, name: metadata.name},
      subjects,
    },
  ];
}

/** YAML as people write it: lists of words on one line. */
function emitYaml(value: object): string {
  const document = new Document(value, {aliasDuplicateObjects: false});
  visit(document, {
    Seq(_, node) {
      if (node.items.every(isScalar)) node.flow = true;
    },
  });
  return document.toString({flowCollectionPadding: false, lineWidth: 100});
}

function rbac(flags: RbacFlags): void {
  const {mode, targetNamespace, agentNamespace, optional} = flags;
  const least = leastRoles(mode, targetNamespace, agentNamespace);
  const roles = optional === true ? [...least, optionalRole()] : least;
  const documents = roles.flatMap((role) => [role, ...bindings(role, flags)]);
  process.stdout.write(documents.map(emitYaml).join('---\n'));
}

/** The command, for `main.ts`. */
export function rbacCommand(): Command {
  return new Command('rbac')
    .description('print the least Kubernetes roles that mirrord needs, as YAML')
    .addOption(
      new Option('--mode <mode>', 'how the agent is run').choices([...rbacModes]).default('job'),
    )
    .option('-n, --target-namespace <namespace>', 'where the targets are', 'default')
    .option('-a, --agent-namespace <namespace>', 'where the agents are, if elsewhere')
    .option('--user <user>', 'give them to this user')
    .option('--group <group>', 'give them to this group')
    .option('--optional', 'with what is good to have, for the whole cluster')
    .helpOption('-h, --help', 'show this help')
    .addHelpText(
      'after',
      `
Modes: job (a Job on the target's node, the default), ephemeral (a container in the target's pod: -e),
targetless (a Job anywhere). docs/kubernetes.md says what each right is for.

Examples:
  $ mirrord rbac -n shop --group developers | kubectl apply -f -
  $ mirrord rbac --mode ephemeral -n shop`,
    )
    .action(rbac);
}
