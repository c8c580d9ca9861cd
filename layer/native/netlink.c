/*
 * rtnetlink(7) without a library: one request, one acknowledgement, one errno.
 *
 * Requests are built in a fixed buffer (the longest, a veth with its peer, takes about 150 bytes)
 * and sent over a socket that lives for one request, so that the caller may change its network
 * namespace between two calls.
 */
#define _GNU_SOURCE
#include "netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct request {
  struct nlmsghdr header;
  char body[1024];
};

static void begin(struct request *r, int type, int flags, const void *fixed, size_t length) {
  memset(r, 0, sizeof *r);
  r->header.nlmsg_len = NLMSG_LENGTH(length);
  r->header.nlmsg_type = (unsigned short)type;
  r->header.nlmsg_flags = (unsigned short)(NLM_F_REQUEST | NLM_F_ACK | flags);
  memcpy(NLMSG_DATA(&r->header), fixed, length);
}

static struct rtattr *put(struct request *r, int type, const void *data, size_t length) {
  struct rtattr *a = (struct rtattr *)((char *)r + NLMSG_ALIGN(r->header.nlmsg_len));
  a->rta_type = (unsigned short)type;
  a->rta_len = (unsigned short)RTA_LENGTH(length);
  if (length) memcpy(RTA_DATA(a), data, length);
  r->header.nlmsg_len = NLMSG_ALIGN(r->header.nlmsg_len) + RTA_ALIGN(a->rta_len);
  return a;
}

static void put_string(struct request *r, int type, const char *s) { put(r, type, s, strlen(s) + 1); }

static void end_nested(struct request *r, struct rtattr *a) {
  a->rta_len = (unsigned short)((char *)r + r->header.nlmsg_len - (char *)a);
}

/* Sends the request and waits for its acknowledgement. */
static int transact(struct request *r) {
  struct {
    struct nlmsghdr header;
    struct nlmsgerr error;
    char rest[4096];
  } answer;
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -errno;
  int result = 0;
  if (send(fd, r, r->header.nlmsg_len, 0) < 0)
    result = -errno;
  else if (recv(fd, &answer, sizeof answer, 0) < (ssize_t)NLMSG_LENGTH(sizeof answer.error))
    result = -EPROTO;
  else
    result = answer.error.error;
  close(fd);
  return result;
}

static int link_index(const char *name) {
  unsigned index = if_nametoindex(name);
  return index ? (int)index : -ENODEV;
}

/* Changes one attribute or flag of an existing link. */
static int link_change(const char *name, unsigned flags, unsigned mask, int type, unsigned value) {
  struct request r;
  int index = link_index(name);
  if (index < 0) return index;
  struct ifinfomsg info = {.ifi_index = index, .ifi_flags = flags, .ifi_change = mask};
  begin(&r, RTM_NEWLINK, 0, &info, sizeof info);
  if (type) put(&r, type, &value, sizeof value);
  return transact(&r);
}

int link_set_up(const char *name, int up) { return link_change(name, up ? IFF_UP : 0, IFF_UP, 0, 0); }

int link_set_mtu(const char *name, unsigned mtu) { return link_change(name, 0, 0, IFLA_MTU, mtu); }

int link_set_queue(const char *name, unsigned packets) {
  return link_change(name, 0, 0, IFLA_TXQLEN, packets);
}

int link_set_master(const char *name, const char *bridge) {
  int index = link_index(bridge);
  return index < 0 ? index : link_change(name, 0, 0, IFLA_MASTER, (unsigned)index);
}

static int parse_mac(const char *text, unsigned char mac[6]) {
  return sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) == 6;
}

int link_add_bridge(const char *name, const char *mac_text) {
  struct request r;
  unsigned char mac[6];
  if (mac_text && !parse_mac(mac_text, mac)) return -EINVAL;
  struct ifinfomsg info = {0};
  begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
  put_string(&r, IFLA_IFNAME, name);
  if (mac_text) put(&r, IFLA_ADDRESS, mac, sizeof mac);
  struct rtattr *link = put(&r, IFLA_LINKINFO, NULL, 0);
  put_string(&r, IFLA_INFO_KIND, "bridge");
  end_nested(&r, link);
  return transact(&r);
}

int link_add_veth(const char *name, const char *peer, pid_t peer_pid, const char *peer_mac) {
  struct request r;
  unsigned char mac[6];
  if (peer_mac && !parse_mac(peer_mac, mac)) return -EINVAL;
  struct ifinfomsg info = {0};
  unsigned pid = (unsigned)peer_pid;
  begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
  put_string(&r, IFLA_IFNAME, name);
  struct rtattr *link = put(&r, IFLA_LINKINFO, NULL, 0);
  put_string(&r, IFLA_INFO_KIND, "veth");
  struct rtattr *data = put(&r, IFLA_INFO_DATA, NULL, 0);
  struct rtattr *other = put(&r, VETH_INFO_PEER, &info, sizeof info);
  put_string(&r, IFLA_IFNAME, peer);
  put(&r, IFLA_NET_NS_PID, &pid, sizeof pid);
  if (peer_mac) put(&r, IFLA_ADDRESS, mac, sizeof mac);
  end_nested(&r, other);
  end_nested(&r, data);
  end_nested(&r, link);
  return transact(&r);
}

/* Parses "ADDRESS/PREFIX". Returns the family, or -EINVAL. */
static int parse_cidr(const char *cidr, unsigned char address[16], unsigned char *prefix) {
  char text[INET6_ADDRSTRLEN];
  const char *slash = strchr(cidr, '/');
  size_t length = slash ? (size_t)(slash - cidr) : strlen(cidr);
  if (length >= sizeof text) return -EINVAL;
  memcpy(text, cidr, length);
  text[length] = 0;
  int family = strchr(text, ':') ? AF_INET6 : AF_INET;
  if (inet_pton(family, text, address) != 1) return -EINVAL;
  long most = family == AF_INET ? 32 : 128;
  long bits = slash ? strtol(slash + 1, NULL, 10) : most;
  if (bits < 0 || bits > most) return -EINVAL;
  *prefix = (unsigned char)bits;
  return family;
}

static size_t address_length(int family) { return family == AF_INET ? 4 : 16; }

int address_add(const char *name, const char *cidr) {
  struct request r;
  unsigned char address[16], prefix;
  int family = parse_cidr(cidr, address, &prefix);
  int index = link_index(name);
  if (family < 0) return family;
  if (index < 0) return index;
  struct ifaddrmsg info = {.ifa_family = (unsigned char)family,
                           .ifa_prefixlen = prefix,
                           .ifa_index = (unsigned)index,
                           .ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0};
  begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
  put(&r, IFA_LOCAL, address, address_length(family));
  put(&r, IFA_ADDRESS, address, address_length(family));
  return transact(&r);
}

int route_add(const char *destination, const char *gateway, const char *name) {
  struct request r;
  unsigned char to[16], via[16], prefix = 0, unused;
  int index = link_index(name);
  int family = AF_INET;
  if (index < 0) return index;
  if (!strcmp(destination, "default6"))
    family = AF_INET6;
  else if (strcmp(destination, "default"))
    family = parse_cidr(destination, to, &prefix);
  if (family < 0) return family;
  int has_gateway = strcmp(gateway, "-") != 0;
  if (has_gateway && parse_cidr(gateway, via, &unused) != family) return -EINVAL;
  struct rtmsg info = {.rtm_family = (unsigned char)family,
                       .rtm_dst_len = prefix,
                       .rtm_table = RT_TABLE_MAIN,
                       .rtm_protocol = RTPROT_STATIC,
                       .rtm_scope = has_gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
                       .rtm_type = RTN_UNICAST};
  begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
  if (prefix) put(&r, RTA_DST, to, address_length(family));
  if (has_gateway) put(&r, RTA_GATEWAY, via, address_length(family));
  put(&r, RTA_OIF, &index, sizeof index);
  return transact(&r);
}
