/*
 * Stream sockets on Node's loop without Node's streams, as a Node-API addon of its own: mirrord and the agent both
 * carry it.
 *
 * Theory of operation. What is ready in one turn of the loop (polling.c) is read, all of it, one piece behind the other, into one
 * buffer for all sockets, and JavaScript is called once for all of it. It takes or copies what came, so that a read allocates nothing and may be large. For each
 * socket it answers how much may be read next, 0 for nothing for now; that is the backpressure. Who shares memory with
 * others is asked right before the first read, too (ASK), and told at once. A read that brings less than it might has
 * drained the socket, which saves the read that would fail with EAGAIN; after READ_ROUNDS the others have their turn. What is
 * left then, or was seen while nobody wanted it, epoll is asked for again.
 *
 * Writing is sendmsg(2) of what JavaScript has gathered: for one socket from any memory (write), or for all that a call
 * has made something to write for, out of the shared memory (writeAll). What the kernel does not take stays there, and
 * the socket is watched until it takes more.
 *
 * Between the kernel and JavaScript is a table of numbers (`notes`, `writes`), since a value that is made for each
 * argument costs more than what it says. Microtasks and ticks run after each call and before the buffer is used again
 * (napi_make_callback), so what they write may still be in it.
 *
 * epoll reports errors and hang-ups whatever it is asked for. What was received before a reset is still delivered
 * then (net/ipv4/tcp.c, tcp_recvmsg_locked), as read(2) would.
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
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "napi-arguments.h"
#include "passages.h"
#include "polling.h"
#include "socket.h"

enum { READ_ROUNDS = 4, MAX_PARTS = 64 };
/* Of one call: sockets/native.ts has as many. */
enum { MAX_NOTES = 128 };
/* Pieces begin at such places, so that no two are in a line of the cache. */
enum { ALIGNMENT = 64 };
/* What is waited for, as JavaScript says it; ASK: to be asked before it is read how much. */
enum { TO_READ = 1, TO_WRITE = 2, ASK = 16 };
/* What of epoll's a read is to find out about. With more than EPOLLIN there is something behind what is read next: an end, or what
 * a read stops at, the mark of urgent data (tcp(7)). */
enum { READABLE_EVENTS = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP };

/* What a socket is told of. `value` becomes the answer. */
struct note {
  int32_t id, event, offset, value;
};

/* All sockets of the process: where they read and write, and whom they tell. */
static struct {
  napi_env env;
  napi_ref callback, arrays[3];
  uint8_t *bytes;
  size_t room, size; /* for what is read; with what is behind it, which JavaScript writes from as well */
  struct note *notes;
  struct sock *noted[MAX_NOTES]; /* whose; NULL: no stream's */
  int count;
  size_t used; /* of the room, by what is noted */
  int32_t *writes;
  size_t write_cells;
} shared;

struct sock {
  struct polled polled;
  int watched;   /* TO_READ, … */
  size_t room;   /* what may be read at once; 0: nothing for now */
  int is_told;   /* since the last callback: what a callback's answer is, is outdated */
  int is_taking; /* it is being read: epoll need not look */
  int is_local;  /* a unix socket, of which a read ends with what descriptors came with (unix(7)) */
  uint32_t seen; /* EPOLL…: epoll has said so, and it was not read to its end since */
  struct seat seat;
};

static struct sock *sock_argument(napi_env env, napi_value value) {
  return polled_find(int_argument(env, value), STREAM);
}

static int is_open(const struct sock *s) { return s->polled.fd >= 0; }

struct seat *seat_argument(napi_env env, napi_value id, int *fd) {
  struct sock *s = sock_argument(env, id);
  if (!s || !is_open(s)) return NULL;
  *fd = s->polled.fd;
  return &s->seat;
}

const uint8_t *sockets_memory(size_t *room) {
  *room = shared.room;
  return shared.bytes;
}

static int is_reading(const struct sock *s) { return is_open(s) && (s->watched & TO_READ) && s->room; }

/* After whatever changes what is waited for. Returns 0 or a negative errno. */
static int apply(struct sock *s) {
  int reads = is_reading(s), writes = is_open(s) && (s->watched & TO_WRITE);
  if (is_open(s)) polled_keep(&s->polled, reads || writes);
  if (s->is_taking || !(reads || writes)) return 0;
  uint32_t events = s->polled.events | EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET | (writes ? EPOLLOUT : 0);
  if (events == s->polled.events && !(reads && s->seen)) return 0;
  s->seen = 0;
  return polled_watch(&s->polled, events);
}

/* Calls back for what is noted, and takes the answers. */
static void deliver(void) {
  napi_env env = shared.env;
  napi_handle_scope scope;
  napi_value callback, global, count, result;
  if (!shared.count) return;
  for (int i = 0; i < shared.count; i++)
    if (shared.noted[i]) shared.noted[i]->is_told = 0;
  napi_open_handle_scope(env, &scope);
  napi_get_reference_value(env, shared.callback, &callback);
  napi_get_global(env, &global);
  napi_create_int32(env, shared.count, &count);
  if (napi_make_callback(env, NULL, global, callback, 1, &count, &result) == napi_pending_exception) {
    napi_value error;
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
  for (int i = 0; i < shared.count; i++) {
    struct note *note = &shared.notes[i];
    struct sock *s = shared.noted[i];
    if (s && s->seat.side && note->event == DATA) seat_delivered(&s->seat, shared.bytes);
    /* Ticks and microtasks, which come after the answer, may know better. */
    if (!s || !is_open(s) || s->is_told || (note->event != DATA && note->event != READABLE)) continue;
    s->room = note->value > 0 ? (size_t)note->value : 0;
    if (!s->room) apply(s);
  }
  shared.count = 0;
  shared.used = 0;
}

static void note(struct sock *s, int32_t id, enum event event, int32_t value) {
  if (shared.count == MAX_NOTES) deliver();
  shared.noted[shared.count] = s;
  shared.notes[shared.count++] = (struct note){id, event, (int32_t)shared.used, value};
}

static void use(size_t bytes) {
  shared.used = (shared.used + bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
  if (shared.used > shared.room) shared.used = shared.room;
}

int32_t sockets_tell(int32_t id, enum event event, int32_t value) {
  deliver();
  note(NULL, id, event, value);
  deliver();
  return shared.notes[0].value;
}

uint8_t *sockets_note(int32_t id, enum event event, int32_t value, size_t bytes) {
  if (shared.room - shared.used < bytes) deliver();
  note(NULL, id, event, value);
  uint8_t *record = shared.bytes + shared.used;
  use(bytes);
  return record;
}

void sockets_deliver(void) { deliver(); }

/* Reads until nothing is there, nothing is wanted, or others are to have a turn. Returns whether it goes on. */
static int read_rounds(struct sock *s, int rounds) {
  if ((s->watched & ASK) && is_reading(s)) {
    deliver();
    if (!is_open(s)) return 0;
    note(s, s->polled.id, READABLE, 0);
    deliver();
  }
  while (rounds-- > 0 && is_reading(s)) {
    size_t wanted = s->room < shared.room ? s->room : shared.room;
    if (shared.room - shared.used < wanted || shared.count == MAX_NOTES || seat_has_piece(&s->seat)) {
      deliver();
      if (!is_reading(s)) break;
      if (wanted > s->room) wanted = s->room;
    }
    seat_reads(&s->seat, shared.used);
    ssize_t n = recv(s->polled.fd, shared.bytes + shared.used, wanted, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      s->seen = 0;
      break;
    }
    if (n <= 0) {
      int32_t failure = n < 0 ? -errno : 0;
      s->seen = 0;
      s->watched &= n < 0 ? 0 : ~TO_READ;
      apply(s);
      note(s, s->polled.id, n < 0 ? FAILED : END, failure);
      return 0;
    }
    seat_has_read(&s->seat, (size_t)n);
    note(s, s->polled.id, DATA, (int32_t)n);
    use((size_t)n);
    /* What comes behind it epoll will tell, if it has not. */
    int is_drained = (size_t)n < wanted && !s->is_local && !(s->seen & ~(uint32_t)EPOLLIN);
    if (is_drained) s->seen = 0;
    /* What it may read next is in the answer, and so is for others what it has taken of a memory that they share. */
    if ((size_t)n == wanted || (s->watched & ASK)) deliver();
    if (is_drained) break;
  }
  return is_open(s);
}

static int take(struct sock *s, int rounds) {
  s->is_taking = 1;
  int goes_on = read_rounds(s, rounds);
  s->is_taking = 0;
  int failure = apply(s);
  if (!failure) return goes_on;
  s->watched = 0;
  note(s, s->polled.id, FAILED, failure);
  return 0;
}

static void on_failed(struct sock *s) {
  /* What came before the error first; then recv(2) tells it, or the socket's own note. */
  if (is_reading(s) && !take(s, 1 << 20)) return;
  deliver();
  if (!is_open(s)) return;
  /* A slow reader has not had all of it: it will be told when it reads on. Who writes is told now. */
  if ((s->watched & TO_READ) && !s->room && !(s->watched & TO_WRITE)) return;
  int failure = 0;
  socklen_t size = sizeof failure;
  getsockopt(s->polled.fd, SOL_SOCKET, SO_ERROR, &failure, &size);
  s->watched = 0;
  apply(s);
  note(s, s->polled.id, FAILED, failure ? -failure : -EPIPE);
}

static void on_ready(struct polled *polled, uint32_t events) {
  struct sock *s = (struct sock *)polled;
  s->seen |= events & (READABLE_EVENTS | EPOLLERR);
  if (events & EPOLLERR) {
    on_failed(s);
    return;
  }
  if ((events & (EPOLLOUT | EPOLLHUP)) && (s->watched & TO_WRITE)) {
    s->watched &= ~TO_WRITE;
    apply(s);
    note(s, s->polled.id, WRITABLE, 0);
    deliver();
  }
  if ((events & READABLE_EVENTS) && is_reading(s)) take(s, READ_ROUNDS);
}

/* start(memory, room, notes, writes, callback) -> 0 | -errno: what is read is in the first `room` bytes of the memory. The
 * callback gets how many notes there are. Once; one thread has them. */
static napi_value start(napi_env env, napi_callback_info info) {
  napi_value args[5];
  size_t sizes[2];
  arguments(env, info, args, 5);
  if (shared.env) return number(env, -EBUSY);
  shared.bytes = bytes_argument(env, args[0], &shared.size);
  shared.room = (size_t)int_argument(env, args[1]);
  shared.notes = (struct note *)bytes_argument(env, args[2], &sizes[0]);
  shared.writes = (int32_t *)bytes_argument(env, args[3], &sizes[1]);
  shared.write_cells = sizes[1] / sizeof(int32_t);
  if (!shared.bytes || !shared.notes || !shared.writes || shared.room > shared.size ||
      sizes[0] < MAX_NOTES * sizeof(struct note))
    return number(env, -EINVAL);
  int failure = polling_start(env, deliver);
  if (failure < 0) return number(env, failure);
  shared.env = env;
  const int places[] = {0, 2, 3};
  for (int i = 0; i < 3; i++) napi_create_reference(env, args[places[i]], 1, &shared.arrays[i]);
  napi_create_reference(env, args[4], 1, &shared.callback);
  return number(env, 0);
}

/* An id, or a negative errno; the descriptor is closed then. */
static int32_t open_stream(int fd, int is_taking) {
  struct sock *s = calloc(1, sizeof *s);
  int failure = s ? polled_open(&s->polled, STREAM, fd, on_ready) : -ENOMEM;
  if (failure) {
    close(fd);
    free(s);
    return failure;
  }
  s->is_taking = is_taking;
  return s->polled.id;
}

int32_t stream_accept(int fd) { return open_stream(fd, 1); }

void stream_begin(int32_t id) {
  struct sock *s = polled_find(id, STREAM);
  if (s) take(s, READ_ROUNDS);
}

/* open(fd) -> id | -errno: the descriptor is ours from now on, and closed on failure; nothing is watched yet. */
static napi_value open_sock(napi_env env, napi_callback_info info) {
  napi_value args[1];
  arguments(env, info, args, 1);
  return number(env, open_stream(int_argument(env, args[0]), 0));
}

/* adopt(fd) -> id | -errno: another descriptor of the same socket. */
static napi_value adopt(napi_env env, napi_callback_info info) {
  napi_value args[1];
  arguments(env, info, args, 1);
  int fd = fcntl(int_argument(env, args[0]), F_DUPFD_CLOEXEC, 3), family = AF_UNIX;
  if (fd < 0) return number(env, -errno);
  socklen_t size = sizeof family;
  getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
  int32_t id = open_stream(fd, 0);
  struct sock *s = polled_find(id, STREAM);
  if (s) s->is_local = family == AF_UNIX;
  return number(env, id);
}

/* watch(id, events, room) -> 0 | -errno: what is waited for, TO_READ, …; `room` counts for reading. */
static napi_value watch(napi_env env, napi_callback_info info) {
  napi_value args[3];
  arguments(env, info, args, 3);
  struct sock *s = sock_argument(env, args[0]);
  if (!s) return number(env, -EBADF);
  int32_t room = int_argument(env, args[2]);
  s->watched = int_argument(env, args[1]) & (TO_READ | TO_WRITE | ASK);
  s->room = room > 0 ? (size_t)room : 0;
  s->is_told = 1;
  return number(env, apply(s));
}

/* Returns what write returns. */
static ssize_t send_vectors(struct sock *s, struct iovec *vectors, int32_t count) {
  const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
  struct msghdr message = {.msg_iov = vectors, .msg_iovlen = (size_t)count};
  ssize_t n;
  do n = count == 1 ? send(s->polled.fd, vectors->iov_base, vectors->iov_len, flags) : sendmsg(s->polled.fd, &message, flags);
  while (n < 0 && errno == EINTR);
  if (n > 0) seat_wrote(&s->seat, (size_t)n);
  return n >= 0 ? n : errno == EAGAIN ? 0 : -errno;
}

/* write(id, parts, count) -> bytes | -errno: at most MAX_PARTS of them; 0 when the kernel takes nothing. */
static napi_value write_parts(napi_env env, napi_callback_info info) {
  napi_value args[3], part;
  struct iovec vectors[MAX_PARTS];
  arguments(env, info, args, 3);
  struct sock *s = sock_argument(env, args[0]);
  if (!s) return number(env, -EBADF);
  int32_t count = int_argument(env, args[2]);
  if (count < 0 || count > MAX_PARTS) return number(env, -EINVAL);
  for (int32_t i = 0; i < count; i++) {
    size_t length;
    if (napi_get_element(env, args[1], (uint32_t)i, &part) != napi_ok) return number(env, -EINVAL);
    uint8_t *bytes = bytes_argument(env, part, &length);
    vectors[i] = (struct iovec){bytes, length};
  }
  return number(env, send_vectors(s, vectors, count));
}

/* What a group of `writes` says: an id, a number of parts, and for each an offset in the memory and a length. Returns the place
 * behind it, 0 if it is none; `vectors` gets the parts. */
static size_t read_group(size_t at, struct iovec *vectors, int32_t *count) {
  if (at + 2 > shared.write_cells) return 0;
  *count = shared.writes[at + 1];
  at += 2;
  if (*count < 0 || *count > MAX_PARTS || shared.write_cells - at < 2 * (size_t)*count) return 0;
  for (int32_t i = 0; i < *count; i++, at += 2) {
    size_t offset = (size_t)(uint32_t)shared.writes[at], length = (size_t)(uint32_t)shared.writes[at + 1];
    if (offset > shared.size || length > shared.size - offset) return 0;
    vectors[i] = (struct iovec){shared.bytes + offset, length};
  }
  return at;
}

/* writeAll(count) -> 0 | -errno: so many groups of `writes`, of each of which the first number becomes what write returns. */
static napi_value write_all(napi_env env, napi_callback_info info) {
  napi_value args[1];
  size_t at = 0;
  arguments(env, info, args, 1);
  int32_t groups = int_argument(env, args[0]);
  for (int32_t i = 0; i < groups; i++) {
    struct iovec vectors[MAX_PARTS];
    int32_t count, *result = &shared.writes[at];
    at = read_group(at, vectors, &count);
    if (!at) return number(env, -EINVAL);
    struct sock *s = polled_find(*result, STREAM);
    *result = s ? (int32_t)send_vectors(s, vectors, count) : -EBADF;
  }
  return number(env, 0);
}

/* shutdownWrite(id) -> 0 | -errno */
static napi_value shutdown_write(napi_env env, napi_callback_info info) {
  napi_value args[1];
  arguments(env, info, args, 1);
  struct sock *s = sock_argument(env, args[0]);
  return number(env, !s ? -EBADF : shutdown(s->polled.fd, SHUT_WR) < 0 ? -errno : 0);
}

/* close(id, reset) -> 0 | -errno. With `reset`, a TCP connection ends by RST (SO_LINGER of 0, socket(7)). */
static napi_value close_sock(napi_env env, napi_callback_info info) {
  napi_value args[2];
  bool reset = false;
  arguments(env, info, args, 2);
  struct sock *s = sock_argument(env, args[0]);
  if (!s) return number(env, -EBADF);
  napi_get_value_bool(env, args[1], &reset);
  struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  if (reset) setsockopt(s->polled.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  seat_closes(&s->seat);
  polled_close(&s->polled);
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

/* localEndpoint(id, endpoint) -> length | -errno: port (big-endian) and address into endpoint, 18 bytes. */
static napi_value local_endpoint(napi_env env, napi_callback_info info) {
  napi_value args[2];
  size_t room;
  arguments(env, info, args, 2);
  struct sock *s = sock_argument(env, args[0]);
  uint8_t *endpoint = bytes_argument(env, args[1], &room);
  if (!s || !endpoint || room < ENDPOINT_BYTES) return number(env, -EINVAL);
  struct sockaddr_storage own;
  socklen_t size = sizeof own;
  if (getsockname(s->polled.fd, (struct sockaddr *)&own, &size) < 0) return number(env, -errno);
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
                                                           {"writeAll", write_all},
                                                           {"close", close_sock},
                                                           {"shutdownWrite", shutdown_write},
                                                           {"connect", connect_to},
                                                           {"adopt", adopt},
                                                           {"localEndpoint", local_endpoint},
                                                           {0}});
  export_listeners(env, exports);
  export_datagrams(env, exports);
  export_passages(env, exports);
  export_standby(env, exports);
  return exports;
}
