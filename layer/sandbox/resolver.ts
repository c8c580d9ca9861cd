/**
 * Which local files and sockets would lead a program's name look-ups past the pod's resolver, and what
 * to put over them. Pure: takes what the local machine has, returns what to mount.
 */

/** Sources of `hosts:` in nsswitch.conf(5) that answer from this machine instead of by DNS. */
const localSources =
  /^(resolve|mdns\w*|myhostname|mymachines|wins|nis|nisplus|libvirt\w*|winbind)$/;

/**
 * The nsswitch.conf to show instead of `text`, or undefined if that one is harmless: `files` and `dns`
 * then decide, so that /etc/hosts and the pod's name server are asked, and nobody else.
 */
export function replaceNsswitch(text: string): string | undefined {
  let isChanged = false;
  const lines = text.split('\n').map((line) => {
    const match = /^\s*hosts\s*:(.*)$/.exec(line.replace(/#.*/, ''));
    if (!match?.[1]?.split(/\s+/).some((source) => localSources.test(source))) return line;
    isChanged = true;
    return 'hosts: files dns';
  });
  return isChanged ? lines.join('\n') : undefined;
}

/**
 * Unix sockets of daemons that resolve names for other programs: nscd (glibc asks it before all else),
 * systemd-resolved (nss-resolve, over varlink), avahi (nss-mdns). A program that can't connect to them
 * goes on by itself.
 */
export const resolverSockets: readonly string[] = [
  '/run/nscd/socket',
  '/var/run/nscd/socket',
  '/run/systemd/resolve/io.systemd.Resolve',
  '/run/avahi-daemon/socket',
];
