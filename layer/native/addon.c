/*
 * What Node can't do itself, as a Node-API addon: packets of a TUN device (device.c), signals with their sender (signals.c), the time
 * and the place of its own thread (awake.c, nearness.c), and here descriptors, and messages of sockets that Node doesn't have: to the
 * launcher, and of netlink.
 *
 * Failures come back as negative errnos; layer/native/native.ts turns them into errors. Pointers and
 * lengths are checked here, everything else there.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <node_api.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "awake.h"
#include "device.h"
#include "fd-passing.h"
#include "napi-arguments.h"
#include "nearness.h"
#include "signals.h"

/* The launcher answers in milliseconds; a helper it runs (nft) in tens. */
#define ANSWER_TIMEOUT_S 20

/* socketPair() -> [fd, fd] | -errno */
static napi_value socket_pair(napi_env env, napi_callback_info info) {
  (void)info;
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) return number(env, -errno);
  struct timeval limit = {.tv_sec = ANSWER_TIMEOUT_S};
  setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  napi_value result;
  napi_create_array_with_length(env, 2, &result);
  for (uint32_t i = 0; i < 2; i++) napi_set_element(env, result, i, number(env, pair[i]));
  return result;
}

/* exchange(fd, message, answer) -> [length, passed fd | -1] | -errno: one command, waiting for its answer. */
static napi_value exchange(napi_env env, napi_callback_info info) {
  napi_value args[3];
  size_t length, room, count;
  int fds[MAX_FDS] = {-1, -1, -1, -1};
  if (arguments(env, info, args, 3) < 3) return number(env, -EINVAL);
  int fd = int_argument(env, args[0]);
  uint8_t *message = bytes_argument(env, args[1], &length);
  uint8_t *answer = bytes_argument(env, args[2], &room);
  if (!message || !answer) return number(env, -EINVAL);
  if (length > MESSAGE_MAX) return number(env, -EMSGSIZE);
  if (send_message(fd, message, length, NULL, 0) < 0) return number(env, -errno);
  ssize_t n;
  do n = receive_message(fd, answer, room, fds, &count);
  while (n < 0 && errno == EINTR);
  if (n < 0) return number(env, errno == EAGAIN ? -ETIMEDOUT : -errno);
  if (n == 0) return number(env, -EPIPE);
  napi_value result;
  napi_create_array_with_length(env, 2, &result);
  napi_set_element(env, result, 0, number(env, n));
  napi_set_element(env, result, 1, number(env, count ? fds[0] : -1));
  return result;
}

/* Whether a dump is complete: its last message says so, or tells an error. */
static int is_dump_over(const uint8_t *at, size_t length) {
  for (struct nlmsghdr *m = (struct nlmsghdr *)at; NLMSG_OK(m, length); m = NLMSG_NEXT(m, length))
    if (m->nlmsg_type == NLMSG_DONE || m->nlmsg_type == NLMSG_ERROR) return 1;
  return 0;
}

/* netlinkDump(fd, request, answer) -> length | -errno: all messages of the answer, which the kernel
 * gives at once (netlink(7): a dump is made while it is received). One too long is read to its end
 * nevertheless, lest it be taken for the next. */
static napi_value netlink_dump(napi_env env, napi_callback_info info) {
  napi_value args[3];
  size_t length, room, filled = 0;
  int is_cut = 0;
  if (arguments(env, info, args, 3) < 3) return number(env, -EINVAL);
  int fd = int_argument(env, args[0]);
  uint8_t *request = bytes_argument(env, args[1], &length);
  uint8_t *answer = bytes_argument(env, args[2], &room);
  if (!request || !answer) return number(env, -EINVAL);
  if (send(fd, request, length, MSG_NOSIGNAL) < 0) return number(env, -errno);
  for (;;) {
    ssize_t n = recv(fd, answer + filled, room - filled, MSG_TRUNC);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return number(env, -errno);
    if ((size_t)n > room - filled) {
      if (!filled) return number(env, -EMSGSIZE); /* not even one message fits */
      is_cut = 1, filled = 0;
      continue;
    }
    if (n == 0 || is_dump_over(answer + filled, (size_t)n)) return number(env, is_cut ? -EMSGSIZE : (int64_t)filled + n);
    filled += (size_t)n;
  }
}

/* closeFd(fd) -> 0 | -errno */
static napi_value close_fd(napi_env env, napi_callback_info info) {
  napi_value args[1];
  arguments(env, info, args, 1);
  return number(env, close(int_argument(env, args[0])) < 0 ? -errno : 0);
}

/* closeOnExec(fd) -> 0 | -errno: what is started from now on does not have it */
static napi_value close_on_exec(napi_env env, napi_callback_info info) {
  napi_value args[1];
  arguments(env, info, args, 1);
  return number(env, fcntl(int_argument(env, args[0]), F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0);
}

NAPI_MODULE_INIT() {
  static const struct { const char *name; napi_callback function; } exported[] = {
      {"socketPair", socket_pair},     {"exchange", exchange},           {"closeFd", close_fd},
      {"closeOnExec", close_on_exec},
      {"netlinkDump", netlink_dump},   {"startReading", start_reading},  {"stopReading", stop_reading},
      {"pauseReading", pause_reading},
      {"writePacket", write_packet},   {"sendPacket", send_packet},      {"relaySignals", relay_signals},
      {"becomeSubreaper", become_subreaper}, {"stayAwake", stay_awake},
      {"goNear", go_near}};
  for (size_t i = 0; i < sizeof exported / sizeof *exported; i++) {
    napi_value function;
    napi_create_function(env, exported[i].name, NAPI_AUTO_LENGTH, exported[i].function, NULL, &function);
    napi_set_named_property(env, exports, exported[i].name, function);
  }
  return exports;
}
