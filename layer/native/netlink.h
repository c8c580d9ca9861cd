/* The few rtnetlink requests that a sandbox or a demo pod needs. All return 0 or -errno. */
#ifndef MIRRORD_NETLINK_H
#define MIRRORD_NETLINK_H
#include <sys/types.h>

/* Brings a link up or down. */
int link_set_up(const char *name, int up);
/* Sets the MTU (bytes) of a link. */
int link_set_mtu(const char *name, unsigned mtu);
/* Sets the transmit queue length (packets) of a link. */
int link_set_queue(const char *name, unsigned packets);
/* Makes a link a port of a bridge. */
int link_set_master(const char *name, const char *bridge);
/* Creates a bridge, with the hardware address `mac`; without one (NULL) it always has the lowest of its ports. */
int link_add_bridge(const char *name, const char *mac);
/* Creates a veth pair; the peer end appears in the network namespace of process `peer_pid`, with the
 * hardware address `peer_mac` ("02:00:…") unless that is NULL. */
int link_add_veth(const char *name, const char *peer, pid_t peer_pid, const char *peer_mac);
/* Adds "ADDRESS/PREFIX" (either family; IPv6 without duplicate detection) to a link. */
int address_add(const char *name, const char *cidr);
/* Adds a route to "default", "default6" or "ADDRESS/PREFIX", via a gateway (or "-") on a link. */
int route_add(const char *destination, const char *gateway, const char *name);
#endif
