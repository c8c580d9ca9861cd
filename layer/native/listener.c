/*
 * Listening sockets of the socket addon (socket.c), for connections that were redirected here.
 *
 * Theory of operation. What waits is accepted, ACCEPT_BATCH at most before others have their turn, and JavaScript is told of all of
 * it at once, with all that is known of each: who it is, and where it wanted to go. A redirected connection has our
 * address as its own; the kernel's connection tracking remembers the other one (SO_ORIGINAL_DST,
 * net/netfilter/nf_conntrack_proto.c). Right after that each is read, before epoll is told of it: most clients have sent
 * their first bytes by then.
 *
 * Options of a listening socket are those of what it accepts (net/core/sock.c, sk_clone_lock): they cost a connection nothing.
 *
 * Without descriptors nothing can be accepted, and epoll would tell of it forever. One is kept for that: it is given up, and whoever
 * comes next is accepted and let go.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "napi-arguments.h"
#include "polling.h"
#include "socket.h"

/* linux/netfilter_ipv4.h and netfilter_ipv6/ip6_tables.h, whose other contents clash with netinet/in.h */
#define ORIGINAL_DST 80

enum { ACCEPT_BATCH = 32, BACKLOG = 4096 };
/* Of a record: the lengths of two endpoints, and these. */
enum { RECORD_BYTES = 2 + 2 * ENDPOINT_BYTES };

struct listener {
  struct polled polled;
  int spare; /* a descriptor to do without */
};

void address_unmap(struct sockaddr_storage *address) {
  const struct sockaddr_in6 v6 = *(struct sockaddr_in6 *)address;
  if (address->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) return;
  struct sockaddr_in *v4 = (void *)address;
  v4->sin_family = AF_INET;
  v4->sin_port = v6.sin6_port;
  memcpy(&v4->sin_addr, v6.sin6_addr.s6_addr + 12, 4);
}

socklen_t address_before_redirect(int fd, int family, struct sockaddr_storage *to) {
  socklen_t length = sizeof *to;
  return getsockopt(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, ORIGINAL_DST, to, &length) < 0 ? 0 : length;
}

/* Accepts one and lets it go; without a descriptor even for that, it is tried again. */
static void turn_away(struct listener *l) {
  struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  if (l->spare >= 0) close(l->spare);
  int fd = accept4(l->polled.fd, NULL, NULL, SOCK_CLOEXEC);
  if (fd >= 0) {
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
  }
  l->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Accepts a connection, and notes it. Returns its id, 0 if it is gone already, -errno if there is none. */
static int32_t accept_one(struct listener *l) {
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  int fd = accept4(l->polled.fd, (struct sockaddr *)&peer, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return -errno;
  int32_t id = stream_accept(fd);
  if (id < 0) return 0;
  uint8_t *record = sockets_note(l->polled.id, ACCEPTED, id, RECORD_BYTES);
  address_unmap(&peer);
  struct sockaddr_storage destination;
  int is_known = address_before_redirect(fd, peer.ss_family, &destination) > 0;
  record[0] = is_known ? (uint8_t)endpoint_of_sockaddr(record + 2, &destination) : 0;
  record[1] = (uint8_t)endpoint_of_sockaddr(record + 2 + ENDPOINT_BYTES, &peer);
  return id;
}

static void on_ready(struct polled *polled, uint32_t events) {
  struct listener *l = (struct listener *)polled;
  int32_t ids[ACCEPT_BATCH];
  int count = 0;
  (void)events;
  /* JavaScript may close it meanwhile. */
  for (int i = 0; i < ACCEPT_BATCH && l->polled.fd >= 0; i++) {
    int32_t id = accept_one(l);
    if (id > 0) ids[count++] = id;
    if (id == -EMFILE || id == -ENFILE) {
      turn_away(l);
      sockets_tell(l->polled.id, FAILED, id);
    }
    if (id < 0) break;
  }
  sockets_deliver();
  for (int i = 0; i < count; i++) stream_begin(ids[i]);
}

/* Listens on a free port of all addresses. Returns a descriptor, or a negative errno. */
static int listen_on(int family) {
  struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
  int off = 0;
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  socklen_t size = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
  int bad = family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) < 0;
  if (!bad) bad = bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, BACKLOG) < 0;
  if (!bad) return fd;
  int failure = errno;
  close(fd);
  return -failure;
}

/* listen(keepAliveSeconds, endpoint) -> id | -errno: on a free port of all addresses, of IPv4's where there is no IPv6. Its own
 * endpoint is put into 18 bytes. */
static napi_value listen_here(napi_env env, napi_callback_info info) {
  napi_value args[2];
  size_t room;
  arguments(env, info, args, 2);
  int one = 1, idle = int_argument(env, args[0]);
  uint8_t *endpoint = bytes_argument(env, args[1], &room);
  if (!endpoint || room < ENDPOINT_BYTES) return number(env, -EINVAL);
  int fd = listen_on(AF_INET6);
  if (fd < 0) fd = listen_on(AF_INET);
  if (fd < 0) return number(env, fd);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  struct sockaddr_storage own;
  socklen_t size = sizeof own;
  struct listener *l = calloc(1, sizeof *l);
  int failure = getsockname(fd, (struct sockaddr *)&own, &size) < 0 ? -errno : l ? 0 : -ENOMEM;
  if (!failure) failure = polled_open(&l->polled, LISTENER, fd, on_ready);
  if (failure) {
    close(fd);
    free(l);
    return number(env, failure);
  }
  endpoint_of_sockaddr(endpoint, &own);
  l->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
  polled_keep(&l->polled, 1);
  failure = polled_watch(&l->polled, EPOLLIN);
  if (!failure) return number(env, l->polled.id);
  if (l->spare >= 0) close(l->spare);
  polled_close(&l->polled);
  return number(env, failure);
}

/* listenerDescriptor(id) -> fd | -errno */
static napi_value listener_descriptor(napi_env env, napi_callback_info info) {
  napi_value args[1];
  arguments(env, info, args, 1);
  const struct listener *l = polled_find(int_argument(env, args[0]), LISTENER);
  return number(env, l ? l->polled.fd : -EBADF);
}

/* closeListener(id) -> 0 | -errno */
static napi_value close_listener(napi_env env, napi_callback_info info) {
  napi_value args[1];
  arguments(env, info, args, 1);
  struct listener *l = polled_find(int_argument(env, args[0]), LISTENER);
  if (!l) return number(env, -EBADF);
  if (l->spare >= 0) close(l->spare);
  polled_close(&l->polled);
  return number(env, 0);
}

void export_listeners(napi_env env, napi_value exports) {
  export_functions(env, exports,
                   (const struct exported[]){{"listen", listen_here},
                                             {"listenerDescriptor", listener_descriptor},
                                             {"closeListener", close_listener},
                                             {0}});
}
