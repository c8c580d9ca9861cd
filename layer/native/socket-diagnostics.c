/*
 * The sockets of this network namespace, asked of sock_diag(7), which can be told what to look for: listeners alone, or
 * the connections of one port. /proc/net/tcp walks all connections of all namespaces, by a table that is as large as the
 * machine's memory allows. And a connection of somebody else's can be ended (SOCK_DESTROY: `ss -K`), by who has
 * NET_ADMIN, where the kernel was built with CONFIG_INET_DIAG_DESTROY.
 *
 * Failures come back as negative errnos; agent/native.ts turns them into errors.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include "socket-diagnostics.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "napi-arguments.h"
#include "netlink-question.h"

static struct questions diagnostics = {.protocol = NETLINK_SOCK_DIAG, .fd = -1};

struct question {
  struct nlmsghdr head;
  struct inet_diag_req_v2 body;
};

static struct question question(int type, int flags, const struct inet_diag_req_v2 *body) {
  return (struct question){.head = {.nlmsg_len = sizeof(struct question), .nlmsg_type = (uint16_t)type, .nlmsg_flags = (uint16_t)flags},
                           .body = *body};
}

/* Writes what there is to say of a socket; returns its length, or 0 where there is no room. */
typedef size_t (*emit)(uint8_t *to, size_t room, const struct inet_diag_msg *socket, size_t length);

/* Writes all sockets that are asked for, after each other; returns the length | -errno. -EMSGSIZE: there are more than
 * fit; the rest is read nevertheless, lest it be taken for the next answer. */
static int64_t dump(const struct inet_diag_req_v2 *body, uint8_t *to, size_t room, emit write) {
  static uint8_t answer[32768] __attribute__((aligned(NLMSG_ALIGNTO)));
  size_t filled = 0;
  struct question all = question(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, body);
  int is_cut = 0, failure = netlink_send(&diagnostics, &all.head);
  if (failure) return failure;
  for (;;) {
    ssize_t n = recv(diagnostics.fd, answer, sizeof answer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? -errno : -EIO;
    size_t left = (size_t)n;
    for (struct nlmsghdr *m = (struct nlmsghdr *)answer; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
      if (m->nlmsg_seq != diagnostics.asked) continue;
      if (m->nlmsg_type == NLMSG_DONE) return is_cut ? -EMSGSIZE : (int64_t)filled;
      int status = netlink_status(m);
      if (status <= 0) return status ?: -EIO;
      const struct inet_diag_msg *found = NLMSG_DATA(m);
      if (is_cut || m->nlmsg_len < NLMSG_LENGTH(sizeof *found)) continue;
      size_t size = write(to + filled, room - filled, found, m->nlmsg_len - NLMSG_LENGTH(sizeof *found));
      is_cut = size == 0;
      filled += size;
    }
  }
}

static uint8_t family_argument(napi_env env, napi_value is_v6) { return int_argument(env, is_v6) ? AF_INET6 : AF_INET; }

static size_t emit_local(uint8_t *to, size_t room, const struct inet_diag_msg *found, size_t length) {
  (void)length;
  size_t size = found->idiag_family == AF_INET6 ? 16 : 4;
  if (room < 2 + size) return 0;
  memcpy(to, &found->id.idiag_sport, 2);
  memcpy(to + 2, found->id.idiag_src, size);
  return 2 + size;
}

/* listening(isV6, protocol, state, endpoints) -> length | -errno: port (big-endian) and address of each socket in
 * that state. */
napi_value listening(napi_env env, napi_callback_info info) {
  napi_value args[4];
  size_t room;
  arguments(env, info, args, 4);
  uint8_t *endpoints = bytes_argument(env, args[3], &room);
  if (!endpoints) return number(env, -EINVAL);
  struct inet_diag_req_v2 body = {.sdiag_family = family_argument(env, args[0]),
                                  .sdiag_protocol = (uint8_t)int_argument(env, args[1]),
                                  .idiag_states = 1u << int_argument(env, args[2])};
  return number(env, dump(&body, endpoints, room, emit_local));
}

/* As agent/native.ts reads it. The kernel's own name of a socket comes first, for destroyConnection. */
struct connection {
  struct inet_diag_sockid id;
  uint8_t mark[4]; /* big-endian; 0 without NET_ADMIN */
  uint8_t is_transparent, state, reserved[2];
};

static size_t emit_connection(uint8_t *to, size_t room, const struct inet_diag_msg *found, size_t length) {
  struct connection connection = {.id = found->id, .state = found->idiag_state};
  if (room < sizeof connection) return 0;
  for (const struct rtattr *a = (const struct rtattr *)(found + 1); RTA_OK(a, length); a = RTA_NEXT(a, length)) {
    if (a->rta_type == INET_DIAG_MARK && RTA_PAYLOAD(a) >= 4) {
      uint32_t mark;
      memcpy(&mark, RTA_DATA(a), 4);
      mark = htonl(mark);
      memcpy(connection.mark, &mark, 4);
    }
    if (a->rta_type == INET_DIAG_SOCKOPT && RTA_PAYLOAD(a) >= 1)
      connection.is_transparent = ((const struct inet_diag_sockopt *)RTA_DATA(a))->transparent;
  }
  memcpy(to, &connection, sizeof connection);
  return sizeof connection;
}

/* connections(isV6, localPort, peerPort, states, records) -> length | -errno: the TCP connections in those states (bits)
 * of these ports, 0 for any. */
napi_value connections(napi_env env, napi_callback_info info) {
  napi_value args[5];
  size_t room;
  arguments(env, info, args, 5);
  uint8_t *records = bytes_argument(env, args[4], &room);
  if (!records) return number(env, -EINVAL);
  struct inet_diag_req_v2 body = {.sdiag_family = family_argument(env, args[0]),
                                  .sdiag_protocol = IPPROTO_TCP,
                                  .idiag_states = (uint32_t)int_argument(env, args[3]),
                                  .id = {.idiag_sport = htons((uint16_t)int_argument(env, args[1])),
                                         .idiag_dport = htons((uint16_t)int_argument(env, args[2]))}};
  return number(env, dump(&body, records, room, emit_connection));
}

/* connection(isV6, id, record) -> length | -errno: the one TCP connection with the ends that an id begins with, open or in
 * TIME_WAIT, else the socket that listens there. -ENOENT: neither. */
napi_value connection(napi_env env, napi_callback_info info) {
  napi_value args[3];
  size_t length, room;
  arguments(env, info, args, 3);
  const uint8_t *id = bytes_argument(env, args[1], &length);
  uint8_t *record = bytes_argument(env, args[2], &room);
  struct inet_diag_req_v2 body = {.sdiag_family = family_argument(env, args[0]), .sdiag_protocol = IPPROTO_TCP};
  if (!id || !record || length < offsetof(struct inet_diag_sockid, idiag_if)) return number(env, -EINVAL);
  memcpy(&body.id, id, offsetof(struct inet_diag_sockid, idiag_if));
  body.id.idiag_cookie[0] = body.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  struct question one = question(SOCK_DIAG_BY_FAMILY, 0, &body);
  const struct nlmsghdr *head;
  int failure = netlink_ask(&diagnostics, &one.head, &head);
  if (failure) return number(env, failure);
  int status = netlink_status(head);
  if (status <= 0) return number(env, status ?: -EIO);
  const struct inet_diag_msg *found = NLMSG_DATA(head);
  if (head->nlmsg_len < NLMSG_LENGTH(sizeof *found)) return number(env, -EIO);
  size_t size = emit_connection(record, room, found, head->nlmsg_len - NLMSG_LENGTH(sizeof *found));
  return number(env, size ? (int64_t)size : -EMSGSIZE);
}

/* destroyConnection(isV6, id) -> 0 | -errno: resets a connection, whoever's it is, by the first bytes of its record. */
napi_value destroy_connection(napi_env env, napi_callback_info info) {
  napi_value args[2];
  size_t length;
  arguments(env, info, args, 2);
  const uint8_t *id = bytes_argument(env, args[1], &length);
  struct inet_diag_req_v2 body = {.sdiag_family = family_argument(env, args[0]), .sdiag_protocol = IPPROTO_TCP};
  if (!id || length < sizeof body.id) return number(env, -EINVAL);
  memcpy(&body.id, id, sizeof body.id);
  struct question end = question(SOCK_DESTROY, NLM_F_ACK, &body);
  const struct nlmsghdr *answer;
  int failure = netlink_ask(&diagnostics, &end.head, &answer);
  if (failure) return number(env, failure);
  int status = netlink_status(answer);
  return number(env, status > 0 ? -EIO : status);
}
