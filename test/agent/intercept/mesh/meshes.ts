/**
 * The rules that service meshes put into a pod, as their own programs do for an application on 8080 with port 9090 left
 * alone, and how each one's proxy reaches the application. Of: istio-iptables (tools/istio-iptables/pkg/capture), istio-cni
 * (cni/pkg/iptables), linkerd2-proxy-init (pkg/iptables), Kuma (pkg/transparentproxy/iptables/builder).
 *
 * Istio's CNI plug-in loads the same rules as its init container. Rules for DNS are left out: they are UDP.
 */

/** The port that every mesh here leaves alone on its way in. */
export const SKIPPED = 9_090;

export interface Mesh {
  /** For iptables-restore --noflush. */
  readonly rules: string;
  /** What else the mesh sets up. */
  readonly commands?: readonly string[];
  readonly proxy: {
    readonly uid: number;
    readonly inbound: number;
    readonly outbound: number;
    /** Where its connection to the application comes from: an address, its client's, or the kernel's choice. */
    readonly source: string;
    /** Where it goes: where its client wanted to go, or an address. */
    readonly to: string;
    /** The mark of its connections. */
    readonly mark: number;
    /** It takes connections by TPROXY. */
    readonly isTransparent: boolean;
  };
}

/** The same rules for ip6tables. */
export function overIpv6(rules: string): string {
  return rules
    .replaceAll('169.254.7.127/32', 'fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128')
    .replaceAll(/127\.0\.0\.([16])\/32/g, '::$1/128');
}

const ENVOY = {uid: 1_337, inbound: 15_006, outbound: 15_001, source: '127.0.0.6', to: 'original'};

/** What istio-iptables does on the way out; of the way in, only the redirect itself. */
const ISTIO_NAT = `*nat
:ISTIO_INBOUND - [0:0]
:ISTIO_REDIRECT - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
`;

export const meshes: Readonly<Record<string, Mesh>> = {
  'Istio, sidecar': {
    rules: `${ISTIO_NAT}-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp --dport ${SKIPPED} -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
COMMIT
`,
    proxy: {...ENVOY, mark: 0, isTransparent: false},
  },
  'Istio, sidecar with TPROXY': {
    rules: `${ISTIO_NAT}COMMIT
*mangle
:ISTIO_DIVERT - [0:0]
:ISTIO_TPROXY - [0:0]
:ISTIO_INBOUND - [0:0]
-A ISTIO_DIVERT -j MARK --set-mark 1337
-A ISTIO_DIVERT -j ACCEPT
-A ISTIO_TPROXY ! -d 127.0.0.1/32 -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp -m mark --mark 1337 -j RETURN
-A ISTIO_INBOUND -p tcp -s 127.0.0.6/32 -i lo -j RETURN
-A ISTIO_INBOUND -p tcp -i lo -m mark ! --mark 1338 -j RETURN
-A ISTIO_INBOUND -p tcp --dport ${SKIPPED} -j RETURN
-A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT
-A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY
-A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark
-A OUTPUT -p tcp -o lo -m mark --mark 1337 -j RETURN
-A OUTPUT ! -d 127.0.0.1/32 -p tcp -o lo -m owner --uid-owner 1337 -j MARK --set-mark 1338
-A OUTPUT ! -d 127.0.0.1/32 -p tcp -o lo -m owner --gid-owner 1337 -j MARK --set-mark 1338
-A OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark
COMMIT
`,
    commands: [
      'ip -4 rule add fwmark 1337 lookup 133',
      'ip -4 route add local default dev lo table 133',
    ],
    proxy: {...ENVOY, mark: 0, isTransparent: true},
  },
  'Istio, ambient': {
    rules: `*mangle
:ISTIO_OUTPUT - [0:0]
:ISTIO_PRERT - [0:0]
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff
-A ISTIO_PRERT -m mark --mark 0x539/0xfff -j CONNMARK --set-xmark 0x111/0xfff
COMMIT
*nat
:ISTIO_OUTPUT - [0:0]
:ISTIO_PRERT - [0:0]
-A OUTPUT -j ISTIO_OUTPUT
-A PREROUTING -j ISTIO_PRERT
-A ISTIO_OUTPUT -d 169.254.7.127/32 -p tcp -m tcp -j ACCEPT
-A ISTIO_OUTPUT -p tcp -m mark --mark 0x111/0xfff -j ACCEPT
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -j ACCEPT
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -p tcp -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001
-A ISTIO_PRERT -s 169.254.7.127/32 -p tcp -m tcp -j ACCEPT
-A ISTIO_PRERT ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15006
COMMIT
`,
    commands: [
      'ip route add local 0.0.0.0/0 dev lo table 100',
      'ip rule add fwmark 0x111/0xfff pref 32764 lookup 100',
    ],
    proxy: {
      uid: 0,
      inbound: 15_006,
      outbound: 15_001,
      source: 'client',
      to: 'original',
      mark: 0x539,
      isTransparent: false,
    },
  },
  Linkerd: {
    rules: `*nat
:PROXY_INIT_REDIRECT - [0:0]
:PROXY_INIT_OUTPUT - [0:0]
-A PROXY_INIT_REDIRECT -p tcp -m multiport --dports 4190,4191,${SKIPPED} -m comment --comment proxy-init/ignore-port -j RETURN
-A PROXY_INIT_REDIRECT -p tcp -m comment --comment proxy-init/redirect-all-incoming-to-proxy-port -j REDIRECT --to-ports 4143
-A PREROUTING -m comment --comment proxy-init/install-proxy-init-prerouting -j PROXY_INIT_REDIRECT
-A PROXY_INIT_OUTPUT -m owner --uid-owner 2102 -m comment --comment proxy-init/ignore-proxy-user-id -j RETURN
-A PROXY_INIT_OUTPUT -o lo -m comment --comment proxy-init/ignore-loopback -j RETURN
-A PROXY_INIT_OUTPUT -p tcp -m multiport --dports 443,6443 -m comment --comment proxy-init/ignore-port -j RETURN
-A PROXY_INIT_OUTPUT -p tcp -m comment --comment proxy-init/redirect-all-outgoing-to-proxy-port -j REDIRECT --to-ports 4140
-A OUTPUT -m comment --comment proxy-init/install-proxy-init-output -j PROXY_INIT_OUTPUT
COMMIT
`,
    proxy: {
      uid: 2_102,
      inbound: 4_143,
      outbound: 4_140,
      source: '',
      to: 'original',
      mark: 0,
      isTransparent: false,
    },
  },
  Kuma: {
    rules: `*nat
:KUMA_MESH_INBOUND - [0:0]
:KUMA_MESH_OUTBOUND - [0:0]
:KUMA_MESH_INBOUND_REDIRECT - [0:0]
:KUMA_MESH_OUTBOUND_REDIRECT - [0:0]
-A PREROUTING -p tcp -j KUMA_MESH_INBOUND
-A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND
-A KUMA_MESH_INBOUND -p tcp --dport ${SKIPPED} -j RETURN
-A KUMA_MESH_INBOUND -p tcp -j KUMA_MESH_INBOUND_REDIRECT
-A KUMA_MESH_OUTBOUND -s 127.0.0.6/32 -o lo -j RETURN
-A KUMA_MESH_OUTBOUND -p tcp ! --dport 53 -o lo ! -d 127.0.0.1/32 -m owner --uid-owner 5678 -j KUMA_MESH_INBOUND_REDIRECT
-A KUMA_MESH_OUTBOUND -p tcp ! --dport 53 -o lo -m owner ! --uid-owner 5678 -j RETURN
-A KUMA_MESH_OUTBOUND -m owner --uid-owner 5678 -j RETURN
-A KUMA_MESH_OUTBOUND -d 127.0.0.1/32 -j RETURN
-A KUMA_MESH_OUTBOUND -j KUMA_MESH_OUTBOUND_REDIRECT
-A KUMA_MESH_INBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A KUMA_MESH_OUTBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 15001
COMMIT
`,
    proxy: {
      ...ENVOY,
      uid: 5_678,
      source: '',
      to: '127.0.0.1',
      mark: 0,
      isTransparent: false,
    },
  },
};
