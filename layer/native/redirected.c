/*
 * What Node can't do and the agent's interceptor must, as a Node-API addon of its own: the agent carries it, and nothing of
 * the TUN. (What is redirected comes by listener.c.)
 *
 * A connection of ours to the application carries a mark (SO_MARK), by which the redirecting rules let it go. What sockets
 * there are: socket-diagnostics.c. Copies of packets: capture.c, and where connections of theirs really go:
 * connection-tracking.c; whether an address is the pod's: own-address.c. Agents of one pod know each other by their users (SO_PEERCRED).
 *
 * Failures come back as negative errnos; agent/native.ts turns them into errors.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <node_api.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "capture.h"
#include "connection-tracking.h"
#include "napi-arguments.h"
#include "own-address.h"
#include "socket-diagnostics.h"

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

/* Port (big-endian) and address, 6 or 18 bytes; returns the length of what the kernel takes. */
static socklen_t read_endpoint(union address *to, const uint8_t *endpoint, size_t length) {
  memset(to, 0, sizeof *to);
  if (length == 6) {
    to->v4.sin_family = AF_INET;
    memcpy(&to->v4.sin_port, endpoint, 2);
    memcpy(&to->v4.sin_addr, endpoint + 2, 4);
    return sizeof to->v4;
  }
  to->v6.sin6_family = AF_INET6;
  memcpy(&to->v6.sin6_port, endpoint, 2);
  memcpy(&to->v6.sin6_addr, endpoint + 2, 16);
  return sizeof to->v6;
}

/* From a port that the kernel picks at connect(2), when it knows the other end. */
static int bind_source(int fd, const uint8_t *source, size_t length) {
  union address from;
  int one = 1;
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  return bind(fd, &from.any, read_endpoint(&from, source, length));
}

/* connectMarked(endpoint, mark, source) -> fd | -errno: a non-blocking connection, made or on its way. Within one
 * machine it is made, or refused, before connect(2) returns. Mark 0: none. Source: an endpoint with port 0, or empty. */
static napi_value connect_marked(napi_env env, napi_callback_info info) {
  napi_value args[3];
  size_t length, source_length;
  arguments(env, info, args, 3);
  uint8_t *endpoint = bytes_argument(env, args[0], &length);
  uint8_t *source = bytes_argument(env, args[2], &source_length);
  if (!endpoint || (length != 6 && length != 18)) return number(env, -EINVAL);
  if (source && source_length && source_length != length) return number(env, -EINVAL);
  uint32_t mark = (uint32_t)int_argument(env, args[1]);
  int fd = socket(length == 6 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return number(env, -errno);
  int one = 1; /* what comes in two pieces must not wait for an acknowledgement of the first */
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  union address to;
  socklen_t size = read_endpoint(&to, endpoint, length);
  int bad = mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) < 0;
  if (!bad && source && source_length) bad = bind_source(fd, source, source_length) < 0;
  if (!bad) bad = connect(fd, &to.any, size) < 0 && errno != EINPROGRESS;
  int failure = bad ? errno : 0;
  size = sizeof failure;
  /* On loopback even a refusal is there by now. */
  if (!failure) getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size);
  if (failure) close(fd);
  return number(env, failure ? -failure : fd);
}

/* peerUser(fd) -> uid | -errno: of who made the other end of a unix socket; the overflow uid where it has none here. */
static napi_value peer_user(napi_env env, napi_callback_info info) {
  napi_value args[1];
  arguments(env, info, args, 1);
  struct ucred peer;
  socklen_t length = sizeof peer;
  if (getsockopt(int_argument(env, args[0]), SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) return number(env, -errno);
  return number(env, peer.uid);
}

NAPI_MODULE_INIT() {
  const struct { const char *name; napi_callback function; } functions[] = {
      {"connectMarked", connect_marked},
      {"peerUser", peer_user},
      {"listening", listening},
      {"connections", connections},
      {"connection", connection},
      {"destroyConnection", destroy_connection},
      {"destination", destination},
      {"isOwnAddress", is_own_address},
      {"openCapture", open_capture},
      {"filterCapture", filter_capture},
      {"captureLosses", capture_losses},
      {"closeCapture", close_capture},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value function;
    napi_create_function(env, NULL, 0, functions[i].function, NULL, &function);
    napi_set_named_property(env, exports, functions[i].name, function);
  }
  return exports;
}
