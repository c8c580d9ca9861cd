/*
 * Whether an address is this network namespace's own, as its routes say (rtnetlink(7), RTM_GETROUTE): the kernel is asked
 * where a packet for it would go. That knows what a list of interfaces does not: all of 127.0.0.0/8, ranges that are routed to
 * the machine itself (AnyIP), and the addresses of interfaces that have no carrier, or not yet.
 *
 * Needs no capability. Failures come back as negative errnos.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include "own-address.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "napi-arguments.h"
#include "netlink-question.h"

static struct questions routes = {.protocol = NETLINK_ROUTE, .fd = -1};

static int leads_here(const uint8_t *address, size_t length) {
  struct {
    struct nlmsghdr head;
    struct rtmsg route;
    struct rtattr attribute;
    uint8_t address[16];
  } m = {.head = {.nlmsg_len = (uint32_t)(NLMSG_LENGTH(sizeof m.route) + RTA_LENGTH(length)), .nlmsg_type = RTM_GETROUTE},
         .route = {.rtm_family = length == 16 ? AF_INET6 : AF_INET, .rtm_dst_len = (unsigned char)(8 * length)},
         .attribute = {.rta_len = (unsigned short)RTA_LENGTH(length), .rta_type = RTA_DST}};
  const struct nlmsghdr *head;
  memcpy(m.address, address, length);
  int failure = netlink_ask(&routes, &m.head, &head);
  if (failure) return failure;
  /* It leads nowhere, or is forbidden: whichever the error says, it does not lead here. */
  if (netlink_status(head) <= 0) return 0;
  if (head->nlmsg_type != RTM_NEWROUTE || head->nlmsg_len < NLMSG_LENGTH(sizeof(struct rtmsg))) return -EIO;
  unsigned char type = ((const struct rtmsg *)NLMSG_DATA(head))->rtm_type;
  return type == RTN_LOCAL || type == RTN_ANYCAST;
}

/* isOwnAddress(address) -> 1 | 0 | -errno: of 4 or 16 bytes. */
napi_value is_own_address(napi_env env, napi_callback_info info) {
  napi_value args[1];
  size_t length;
  arguments(env, info, args, 1);
  const uint8_t *address = bytes_argument(env, args[0], &length);
  if (!address || (length != 4 && length != 16)) return number(env, -EINVAL);
  return number(env, leads_here(address, length));
}
