/*
 * Stream sockets on Node's loop without Node's streams, as a Node-API addon of its own: mirrord and the agent both
 * carry it.
 *
 * Theory of operation. All sockets of a process read into one buffer: the callback is called in the same breath
 * and takes or copies what came, so that a read allocates nothing and may be large. It returns how much may be read
 * next, 0 for nothing for now; that is the backpressure. Who shares memory with others is asked right before the first
 * read, too (ASK). A read that brings less than it might has drained the
 * socket, which saves the read that would fail with EAGAIN; after READ_ROUNDS the others have their turn. Writing
 * is writev(2) of what JavaScript has gathered; what the kernel does not take stays there, and the socket is
 * watched until it takes more.
 *
 * Microtasks and ticks run after each callback and before the buffer is used again (napi_make_callback), so what
 * they write may still be in it.
 *
 * epoll reports errors and hang-ups whatever it is asked for; libuv tells them as a failed poll and stops watching.
 * What was received before a reset is still delivered then (net/ipv4/tcp.c, tcp_recvmsg_locked), as read(2) would.
 *
 * Failures come back as negative errnos; sockets/native.ts is the only file that loads this.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <node_api.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "napi-arguments.h"
#include "socket.h"
#include "uv-abi.h"

enum { READ_ROUNDS = 4, MAX_PARTS = 64 };
/* Besides UV_…_EVENT: to be asked before it is read how much. */
enum { ASK = 16 };

/* All sockets of the process: where they read, and whom they tell. */
static struct {
  napi_env env;
  napi_ref callback, buffer;
  uint8_t *bytes;
  size_t size;
} shared;

/* Lives until its poll handle is closed. */
struct sock {
  uv_poll_t *poll;
  int fd, watched; /* watched: UV_…_EVENT, as asked for */
  uint32_t id;
  size_t room; /* what may be read at once; 0: nothing for now */
  int is_told; /* since the last callback: what a callback's answer is, is outdated */
};

static struct sock *sock_argument(napi_env env, napi_value value) {
  void *result = NULL;
  napi_get_value_external(env, value, &result);
  return result;
}

int64_t sockets_tell(uint32_t id, enum event event, int64_t value) {
  napi_env env = shared.env;
  napi_handle_scope scope;
  napi_value callback, global, arguments[3], result = NULL;
  int64_t answer = 0;
  napi_open_handle_scope(env, &scope);
  napi_get_reference_value(env, shared.callback, &callback);
  napi_get_global(env, &global);
  napi_create_uint32(env, id, &arguments[0]);
  napi_create_int32(env, event, &arguments[1]);
  napi_create_int64(env, value, &arguments[2]);
  if (napi_make_callback(env, NULL, global, callback, 3, arguments, &result) == napi_pending_exception) {
    napi_value error;
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  } else if (result) {
    napi_get_value_int64(env, result, &answer);
  }
  napi_close_handle_scope(env, scope);
  return answer;
}

static void on_event(uv_poll_t *poll, int status, int events);

static void apply(struct sock *s) {
  int events = (s->watched & UV_WRITABLE_EVENT) | (s->room ? s->watched & UV_READABLE_EVENT : 0);
  if (events) uv_poll_start(s->poll, events, on_event);
  else uv_poll_stop(s->poll);
}

/* Reads until nothing is there, nothing is wanted, or others are to have a turn. Returns whether it goes on. */
static int take(struct sock *s, int rounds) {
  if (s->watched & ASK) {
    s->is_told = 0;
    int64_t room = sockets_tell(s->id, READABLE, 0);
    if (s->fd < 0) return 0;
    if (!s->is_told) s->room = room > 0 ? (size_t)room : 0;
    if (!s->room) apply(s);
  }
  while (rounds-- > 0 && s->fd >= 0 && (s->watched & UV_READABLE_EVENT) && s->room) {
    size_t wanted = s->room < shared.size ? s->room : shared.size;
    ssize_t n = recv(s->fd, shared.bytes, wanted, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) {
      int64_t failure = n < 0 ? -errno : 0;
      s->watched &= n < 0 ? 0 : ~UV_READABLE_EVENT;
      apply(s);
      sockets_tell(s->id, n < 0 ? FAILED : END, failure);
      return 0;
    }
    s->is_told = 0;
    int64_t room = sockets_tell(s->id, DATA, n);
    if (s->fd < 0) return 0;
    /* Ticks and microtasks, which come after the answer, may know better. */
    if (!s->is_told) s->room = room > 0 ? (size_t)room : 0;
    if (!s->room) apply(s);
    if ((size_t)n < wanted) break;
  }
  return s->fd >= 0;
}

static void on_event(uv_poll_t *poll, int status, int events) {
  struct sock *s = uv_handle_get_data((uv_handle_t *)poll);
  if (status < 0) {
    /* What came before the error first; then recv(2) tells it, or the socket's own note. */
    if ((s->watched & UV_READABLE_EVENT) && s->room && !take(s, 1 << 20)) return;
    if (s->fd < 0) return;
    /* A slow reader has not had all of it: it will be told when it reads on. Who writes is told now. */
    if ((s->watched & UV_READABLE_EVENT) && !s->room && !(s->watched & UV_WRITABLE_EVENT)) return;
    int failure = 0;
    socklen_t size = sizeof failure;
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &failure, &size);
    s->watched = 0;
    apply(s);
    sockets_tell(s->id, FAILED, failure ? -failure : -EPIPE);
    return;
  }
  if (events & UV_WRITABLE_EVENT) {
    s->watched &= ~UV_WRITABLE_EVENT;
    apply(s);
    sockets_tell(s->id, WRITABLE, 0);
  }
  if (events & UV_READABLE_EVENT) take(s, READ_ROUNDS);
}

/* start(buffer, callback) -> 0 | -errno: callback(id, event, value) -> what may be read next. Once; one thread has them. */
static napi_value start(napi_env env, napi_callback_info info) {
  napi_value args[2];
  arguments(env, info, args, 2);
  if (shared.env) return number(env, -EBUSY);
  shared.bytes = bytes_argument(env, args[0], &shared.size);
  if (!shared.bytes) return number(env, -EINVAL);
  shared.env = env;
  napi_create_reference(env, args[0], 1, &shared.buffer);
  napi_create_reference(env, args[1], 1, &shared.callback);
  return number(env, 0);
}

/* open(fd, id) -> handle | -errno: the descriptor is ours from now on, and closed on failure; nothing is watched yet. */
static napi_value open_sock(napi_env env, napi_callback_info info) {
  napi_value args[2], handle;
  arguments(env, info, args, 2);
  struct sock *s = calloc(1, sizeof *s);
  uv_poll_t *poll = calloc(1, uv_handle_size(UV_POLL_HANDLE_TYPE));
  uv_loop_t *loop;
  int result = -ENOMEM;
  if (s && poll && napi_get_uv_event_loop(env, &loop) == napi_ok)
    result = uv_poll_init(loop, poll, int_argument(env, args[0]));
  if (result < 0) {
    close(int_argument(env, args[0]));
    free(s);
    free(poll);
    return number(env, result);
  }
  *s = (struct sock){.poll = poll, .fd = int_argument(env, args[0]), .id = (uint32_t)int_argument(env, args[1])};
  uv_handle_set_data((uv_handle_t *)poll, s);
  napi_create_external(env, s, NULL, NULL, &handle);
  return handle;
}

/* watch(handle, events, room): what is waited for; `room` counts for reading. */
static napi_value watch(napi_env env, napi_callback_info info) {
  napi_value args[3];
  arguments(env, info, args, 3);
  struct sock *s = sock_argument(env, args[0]);
  if (!s || s->fd < 0) return number(env, -EBADF);
  int32_t room = int_argument(env, args[2]);
  s->watched = int_argument(env, args[1]) & (UV_READABLE_EVENT | UV_WRITABLE_EVENT | ASK);
  s->room = room > 0 ? (size_t)room : 0;
  s->is_told = 1;
  apply(s);
  return number(env, 0);
}

/* write(handle, parts, count) -> bytes | -errno: at most MAX_PARTS of them; 0 when the kernel takes nothing. */
static napi_value write_parts(napi_env env, napi_callback_info info) {
  napi_value args[3], part;
  struct iovec vectors[MAX_PARTS];
  arguments(env, info, args, 3);
  struct sock *s = sock_argument(env, args[0]);
  if (!s || s->fd < 0) return number(env, -EBADF);
  int32_t count = int_argument(env, args[2]);
  if (count < 0 || count > MAX_PARTS) return number(env, -EINVAL);
  for (int32_t i = 0; i < count; i++) {
    size_t length;
    if (napi_get_element(env, args[1], (uint32_t)i, &part) != napi_ok) return number(env, -EINVAL);
    uint8_t *bytes = bytes_argument(env, part, &length);
    vectors[i] = (struct iovec){bytes, length};
  }
  struct msghdr message = {.msg_iov = vectors, .msg_iovlen = (size_t)count};
  ssize_t n;
  do n = sendmsg(s->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  return number(env, n >= 0 ? n : errno == EAGAIN ? 0 : -errno);
}

/* shutdownWrite(handle) -> 0 | -errno */
static napi_value shutdown_write(napi_env env, napi_callback_info info) {
  napi_value args[1];
  arguments(env, info, args, 1);
  struct sock *s = sock_argument(env, args[0]);
  return number(env, !s || s->fd < 0 ? -EBADF : shutdown(s->fd, SHUT_WR) < 0 ? -errno : 0);
}

static void on_closed(uv_handle_t *handle) {
  free(uv_handle_get_data(handle));
  free(handle);
}

/* close(handle, reset): once only. With `reset`, a TCP connection ends by RST (SO_LINGER of 0, socket(7)). */
static napi_value close_sock(napi_env env, napi_callback_info info) {
  napi_value args[2];
  bool reset = false;
  arguments(env, info, args, 2);
  struct sock *s = sock_argument(env, args[0]);
  if (!s || s->fd < 0) return number(env, -EBADF);
  napi_get_value_bool(env, args[1], &reset);
  struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  if (reset) setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  uv_poll_stop(s->poll);
  close(s->fd);
  s->fd = -1;
  uv_close((uv_handle_t *)s->poll, on_closed);
  return number(env, 0);
}

socklen_t endpoint_to_sockaddr(struct sockaddr_storage *to, const uint8_t *endpoint, size_t length) {
  struct sockaddr_in *v4 = (void *)to;
  struct sockaddr_in6 *v6 = (void *)to;
  memset(to, 0, sizeof *v6);
  if (length == 6) {
    v4->sin_family = AF_INET;
    memcpy(&v4->sin_port, endpoint, 2);
    memcpy(&v4->sin_addr, endpoint + 2, 4);
    return sizeof *v4;
  }
  if (length != ENDPOINT_BYTES) return 0;
  v6->sin6_family = AF_INET6;
  memcpy(&v6->sin6_port, endpoint, 2);
  memcpy(&v6->sin6_addr, endpoint + 2, 16);
  return sizeof *v6;
}

size_t endpoint_of_sockaddr(uint8_t *endpoint, const struct sockaddr_storage *from) {
  int is_v6 = from->ss_family == AF_INET6;
  const struct sockaddr_in *v4 = (const void *)from;
  const struct sockaddr_in6 *v6 = (const void *)from;
  memcpy(endpoint, is_v6 ? &v6->sin6_port : &v4->sin_port, 2);
  memcpy(endpoint + 2, is_v6 ? (const void *)&v6->sin6_addr : (const void *)&v4->sin_addr, is_v6 ? 16 : 4);
  return is_v6 ? ENDPOINT_BYTES : 6;
}

/* connect(endpoint, keepAliveSeconds) -> fd | -errno: port (big-endian) and address. Made or on its way when it
 * returns: writable when made. */
static napi_value connect_to(napi_env env, napi_callback_info info) {
  napi_value args[2];
  size_t length;
  arguments(env, info, args, 2);
  uint8_t *endpoint = bytes_argument(env, args[0], &length);
  if (!endpoint || (length != 6 && length != 18)) return number(env, -EINVAL);
  int fd = socket(length == 6 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return number(env, -errno);
  int one = 1, idle = int_argument(env, args[1]);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  struct sockaddr_storage to;
  socklen_t size = endpoint_to_sockaddr(&to, endpoint, length);
  if (connect(fd, (struct sockaddr *)&to, size) < 0 && errno != EINPROGRESS) {
    int failure = errno;
    close(fd);
    return number(env, -failure);
  }
  return number(env, fd);
}

/* duplicate(fd) -> another descriptor of the same socket | -errno */
static napi_value duplicate(napi_env env, napi_callback_info info) {
  napi_value args[1];
  arguments(env, info, args, 1);
  int fd = fcntl(int_argument(env, args[0]), F_DUPFD_CLOEXEC, 3);
  return number(env, fd < 0 ? -errno : fd);
}

/* localEndpoint(handle, endpoint) -> length | -errno: port (big-endian) and address into endpoint, 18 bytes. */
static napi_value local_endpoint(napi_env env, napi_callback_info info) {
  napi_value args[2];
  size_t room;
  arguments(env, info, args, 2);
  struct sock *s = sock_argument(env, args[0]);
  uint8_t *endpoint = bytes_argument(env, args[1], &room);
  if (!s || s->fd < 0 || !endpoint || room < ENDPOINT_BYTES) return number(env, -EINVAL);
  struct sockaddr_storage own;
  socklen_t size = sizeof own;
  if (getsockname(s->fd, (struct sockaddr *)&own, &size) < 0) return number(env, -errno);
  return number(env, (int64_t)endpoint_of_sockaddr(endpoint, &own));
}

void export_functions(napi_env env, napi_value exports, const struct exported *functions) {
  for (; functions->name; functions++) {
    napi_value function;
    napi_create_function(env, functions->name, NAPI_AUTO_LENGTH, functions->function, NULL, &function);
    napi_set_named_property(env, exports, functions->name, function);
  }
}

NAPI_MODULE_INIT() {
  export_functions(env, exports, (const struct exported[]){{"start", start},
                                                           {"open", open_sock},
                                                           {"watch", watch},
                                                           {"write", write_parts},
                                                           {"close", close_sock},
                                                           {"shutdownWrite", shutdown_write},
                                                           {"connect", connect_to},
                                                           {"duplicate", duplicate},
                                                           {"localEndpoint", local_endpoint},
                                                           {0}});
  export_datagrams(env, exports);
  return exports;
}
