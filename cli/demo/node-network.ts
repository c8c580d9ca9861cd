/**
 * The node's network: the bridge, a cable for each pod, forwarding, and the rules of kube-proxy.
 *
 * A pod's address is a /32 (or /128) of its own, with the gateway as its only neighbour. So all traffic
 * of a pod, even to a pod beside it, is routed by the node and meets its NAT rules in both directions,
 * without the bridge netfilter module, which not every kernel has.
 *
 * The netlink requests are made by a launcher that stays in the node's network namespace and never
 * executes a program.
 */

import {existsSync} from 'node:fs';
import {MirrordError} from '../../layer/errors.ts';
import {Launcher} from '../../layer/sandbox/launcher.ts';
import {node, podAddresses} from './addressing.ts';
import type {PodSpec} from './pods.ts';

const netfilterOnBridges = '/proc/sys/net/bridge/bridge-nf-call-';

/** Settings that the node and its pods have in common, made before there is a device to inherit them. */
function configure(launcher: Launcher): void {
  launcher.sysctl('net.ipv4.ip_unprivileged_port_start', 0);
  const gid = process.getgid?.() ?? 0;
  launcher.sysctl('net.ipv4.ping_group_range', `${gid} ${gid}`);
  // A namespace may begin with what the machine's administrator, or a container runtime, set outside.
  launcher.sysctl('net.ipv6.conf.all.disable_ipv6', 0);
  launcher.sysctl('net.ipv6.conf.default.disable_ipv6', 0);
  // Addresses are known to be unique. Detection would keep link-local ones from use for two seconds, and
  // without one the node can't look for the neighbours to which it forwards.
  launcher.sysctl('net.ipv6.conf.default.accept_dad', 0);
  launcher.sysctl('net.ipv6.conf.default.dad_transmits', 0);
  for (const family of ['ipv4', 'ipv6']) {
    launcher.sysctl(`net.${family}.conf.all.accept_redirects`, 0);
    launcher.sysctl(`net.${family}.conf.default.accept_redirects`, 0);
  }
  launcher.command('link', 'lo', 'state', 'up');
}

export class NodeNetwork implements Disposable {
  #launcher: Launcher;
  #nft: string;
  #cables = 0;

  /** Makes the network in this process's namespace, where it must have all rights. `nft`: the program. */
  constructor(nft: string) {
    this.#nft = nft;
    this.#launcher = new Launcher({
      argv: ['/nothing'],
      env: {},
      stdio: ['ignore', 'inherit', 'inherit'],
      detached: true,
    });
    const launcher = this.#launcher;
    if (!existsSync('/proc/sys/net/ipv6')) {
      throw new MirrordError(
        'MIRRORD_IPV6_MISSING',
        'the demo needs IPv6, which this kernel lacks',
        {
          hint: 'start the machine without ipv6.disable=1',
        },
      );
    }
    configure(launcher);
    launcher.sysctl('net.ipv4.ip_forward', 1);
    launcher.sysctl('net.ipv6.conf.all.forwarding', 1);
    launcher.sysctl('net.ipv4.conf.all.send_redirects', 0);
    launcher.sysctl('net.ipv4.conf.default.send_redirects', 0);
    // Every refusal is told. Otherwise IPv6 errors would be lost: before a rule can reject a packet, the
    // kernel counts a redirect for it, which the rules suppress, against the same limit.
    launcher.sysctl('net.ipv4.icmp_ratelimit', 0);
    launcher.sysctl('net.ipv6.icmp.ratelimit', 0);
    for (const family of ['iptables', 'ip6tables']) {
      const setting = netfilterOnBridges + family;
      if (existsSync(setting)) launcher.command('write', setting, '0', '0644');
    }
    // Else the address changes with each port, and pods talk to the old one for half a minute.
    launcher.command('bridge', node.bridge, '02:00:0a:f4:00:01');
    launcher.command('link', node.bridge, 'state', 'up');
    launcher.command('address', node.bridge, `${node.gateway4}/24`);
    launcher.command('address', node.bridge, `${node.gateway6}/64`);
    launcher.command('address', 'lo', `${node.dns}/32`);
    // What no rule translates is forwarded back to where it came from, and rejected on the way.
    launcher.command('route', node.serviceRange4, '-', node.bridge);
    launcher.command('route', node.serviceRange6, '-', node.bridge);
  }

  /** Replaces the rules in one transaction. Throws `SystemError` with nft's complaint. */
  loadRules(rules: string): void {
    this.#launcher.run(this.#nft, ['-f', '-'], rules);
  }

  /** Connects a pod, whose launcher `pod` is already in its namespaces. */
  connect(spec: PodSpec, pod: Launcher): void {
    const {v4, v6} = podAddresses(spec.host);
    // A new name for each run: the kernel removes the old cable some time after its pod.
    const cable = `veth${spec.host}x${this.#cables++}`;
    configure(pod);
    // The same hardware address in each run, lest the neighbours talk to the one they remember.
    const mac = `02:00:0a:f4:00:${spec.host.toString(16).padStart(2, '0')}`;
    this.#launcher.command('veth', cable, 'eth0', pod.process.pid ?? 0, mac);
    this.#launcher.command('link', cable, 'master', node.bridge);
    this.#launcher.command('link', cable, 'state', 'up');
    pod.command('link', 'eth0', 'state', 'up');
    pod.command('address', 'eth0', `${v4}/32`);
    pod.command('address', 'eth0', `${v6}/128`);
    pod.command('route', `${node.gateway4}/32`, '-', 'eth0');
    pod.command('route', 'default', node.gateway4, 'eth0');
    pod.command('route', `${node.gateway6}/128`, '-', 'eth0');
    pod.command('route', 'default6', node.gateway6, 'eth0');
  }

  [Symbol.dispose](): void {
    this.#launcher[Symbol.dispose]();
  }
}
