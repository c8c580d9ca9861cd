/*
 * A process that stands by, and goes on with what passes through us when we are killed.
 *
 * Theory of operation. It is a clone of ours with the same table of descriptors (CLONE_FILES, clone(2)), in memory of its
 * own but for what is shared (passages.c). So it has every socket that we have, as soon as we have it and no longer, and
 * nothing needs to be handed over. It sleeps until the kernel tells it that we are dead (PR_SET_PDEATHSIG), however that came about: by
 * SIGKILL, by a mistake in native code, by V8 running out of memory. What has died with us of the sockets' contents, it finds in the
 * account. Then it
 *
 *   - has the rules changed so that new connections go past us (a command to the nft that keeps them, nft-keeper.ts), and accepts
 *     those that were on their way to our listener;
 *   - closes what is not a passage's: whoever is at the other end of our tunnels hears of our end at once;
 *   - passes every passage on as it is, both ways, until it is over: bytes, ends and resets. What nobody can go on with but us is
 *     reset.
 *
 * When we end in good order there are no passages, and it ends, too.
 *
 * The memory that it has from us is given back at once, so that it costs us nothing (V8 would copy each page that it writes): all
 * that is private and anonymous but its stack, its thread's area and the data of libraries. Other threads may have held locks when
 * it was cloned, so it calls nothing that has any: no malloc, no stdio. It must find every function that it calls bound already (-z now).
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "napi-arguments.h"
#include "passages.h"
#include "socket.h"

/* How long connections may still come to our listeners, ms: until a command has worked; until the rules have expired (rules.ts). */
enum { COMMAND_MS = 1000, EXPIRY_MS = 10000 };
/* How long passages may go on, ms, as when an agent ends (interceptor.ts). */
enum { LINGER_MS = 3600000 };
/* Connections that are accepted at a time, at most (listener.c). */
enum { BATCH = 64 };
enum { PIECE_BYTES = 65536, ROUNDS = 16, EVENTS = 128, MOST_DESCRIPTORS = 1 << 16 };

/* What is to be written before anything else is read. */
struct flow {
  uint8_t *bytes; /* mapped */
  size_t size, begin, end;
  int is_over;
};

struct way {
  int from, to;
  struct flow flow;
};

static struct {
  struct way (*ways)[2]; /* of each passage: up, down; from -1: it is over */
  int32_t *free_places, *ready, *turn; /* whose turn it is, and whose next */
  int32_t free_count, ready_count, open_count;
  uint8_t *is_ready;
  int epoll;
  int64_t began;
} own;

static int64_t now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void *map(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

/* ---- what it has from us ---- */

/* A number in a text that /proc has made. */
static uint64_t parse(const char **at, int base) {
  uint64_t value = 0;
  for (;; (*at)++) {
    int digit = **at >= '0' && **at <= '9' ? **at - '0' : **at >= 'a' && **at <= 'f' ? **at - 'a' + 10 : 99;
    if (digit >= base) return value;
    value = value * (uint64_t)base + (uint64_t)digit;
  }
}

/* A line of /proc/self/maps: whether it is memory of ours that this process has no use for. */
static int is_useless(const char *line, uintptr_t *begin, uintptr_t *end, int *was_file) {
  const char *at = line;
  *begin = (uintptr_t)parse(&at, 16), at++;
  *end = (uintptr_t)parse(&at, 16), at++;
  int is_private = at[3] == 'p';
  for (int field = 0; field < 3; field++) at += strcspn(at, " "), at += strspn(at, " ");
  int is_file = *at != '0', is_bss = *was_file && !is_file;
  at += strcspn(at, " \n");
  at += strspn(at, " ");
  /* What is not initialised of a library lies behind its data. */
  *was_file = is_file;
  int here;
  uintptr_t stack = (uintptr_t)&here, thread = (uintptr_t)&errno;
  int is_needed = (stack >= *begin && stack < *end) || (thread >= *begin && thread < *end) || !strncmp(at, "[v", 2) ||
                  !strncmp(at, "[stack", 6);
  return is_private && !is_file && !is_bss && !is_needed;
}

static void forget_memory(void) {
  char buffer[8192];
  size_t length = 0;
  int was_file = 0, fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  for (ssize_t n; (n = read(fd, buffer + length, sizeof buffer - length - 1)) > 0;) {
    char *line = buffer, *line_end;
    length += (size_t)n;
    buffer[length] = 0;
    for (; (line_end = strchr(line, '\n')); line = line_end + 1) {
      uintptr_t begin, end;
      if (is_useless(line, &begin, &end, &was_file)) munmap((void *)begin, end - begin);
    }
    length = (size_t)(buffer + length - line);
    memmove(buffer, line, length);
  }
  close(fd);
}

/* It is no agent to whoever looks for one: its name, and its command line, which lies where ours does (proc(5), arg_start). */
static void take_name(const char *name) {
  char text[2048];
  prctl(PR_SET_NAME, name);
  int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  if (n <= 0) return;
  text[n] = 0;
  const char *at = strrchr(text, ')');
  for (int field = 2; at && field < 48; field++) at = strchr(at + 1, ' ');
  if (!at++) return;
  char *begin = (char *)(uintptr_t)parse(&at, 10);
  at++;
  char *end = (char *)(uintptr_t)parse(&at, 10);
  int here;
  /* On the stack, above us, or it is nothing that we know. */
  if (begin <= (char *)&here || end <= begin || (size_t)(end - begin) <= strlen(name)) return;
  memset(begin, 0, (size_t)(end - begin));
  memcpy(begin, name, strlen(name));
}

static void close_range_of(unsigned first, unsigned last) {
  if (first > last || syscall(SYS_close_range, first, last, 0) == 0) return;
  for (unsigned fd = first; fd <= last && fd < MOST_DESCRIPTORS; fd++) close((int)fd); /* before Linux 5.9 */
}

/* Closes what nobody needs any more. */
static void close_others(const uint8_t *is_kept) {
  unsigned first = 0;
  for (unsigned fd = 0; fd < MOST_DESCRIPTORS; fd++) {
    if (!is_kept[fd]) continue;
    if (fd > first) close_range_of(first, fd - 1);
    first = fd + 1;
  }
  close_range_of(first, ~0u);
}

static void keep_open(uint8_t *is_kept, int fd) {
  if (fd >= 0 && fd < MOST_DESCRIPTORS) is_kept[fd] = 1;
}

/* ---- connections ---- */

static void reset(int fd) {
  struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  if (fd < 0) return;
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(fd);
}

/* A connection to the application, which the rules let go; from the same place of loopback as its client, if it can be. */
static int dial(const struct sockaddr_storage *to, socklen_t to_length, const struct sockaddr_storage *from,
                socklen_t from_length) {
  int one = 1, fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  int bad = setsockopt(fd, SOL_SOCKET, SO_MARK, &estate->mark, sizeof estate->mark) < 0 && estate->mark;
  if (!bad && from_length) {
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    (void)!bind(fd, (const struct sockaddr *)from, from_length);
  }
  if (!bad) bad = connect(fd, (const struct sockaddr *)to, to_length) < 0 && errno != EINPROGRESS;
  if (!bad) return fd;
  close(fd);
  return -1;
}

static void free_flow(struct flow *flow) {
  if (flow->bytes) munmap(flow->bytes, flow->size);
  *flow = (struct flow){.is_over = flow->is_over};
}

static void end_passage(int32_t place, int is_reset) {
  struct way *ways = own.ways[place];
  for (int i = 0; i < 2; i++) {
    if (is_reset) reset(ways[i].from);
    else close(ways[i].from);
    free_flow(&ways[i].flow);
    ways[i].from = -1;
  }
  own.free_places[own.free_count++] = place;
  own.open_count--;
}

static void set_ready(int32_t place) {
  if (own.is_ready[place]) return;
  own.is_ready[place] = 1;
  own.ready[own.ready_count++] = place;
}

/* Both ends are connected, or one is on its way. Takes them over; returns the place, or -1. */
static int32_t begin_passage(int client, int application) {
  int32_t place = own.free_count ? own.free_places[--own.free_count] : -1;
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u32 = (uint32_t)place};
  if (place < 0 || epoll_ctl(own.epoll, EPOLL_CTL_ADD, client, &event) < 0 ||
      epoll_ctl(own.epoll, EPOLL_CTL_ADD, application, &event) < 0) {
    if (place >= 0) own.free_places[own.free_count++] = place;
    reset(client);
    reset(application);
    return -1;
  }
  own.ways[place][0] = (struct way){.from = client, .to = application};
  own.ways[place][1] = (struct way){.from = application, .to = client};
  own.open_count++;
  set_ready(place);
  return place;
}

static int is_busy(void) { return errno == EAGAIN || errno == EINTR || errno == ENOTCONN; }

/* Writes what waits. Returns 1 when nothing does any more, 0 when it is to wait, -1 when the connection is broken. */
static int flush(struct way *way) {
  struct flow *flow = &way->flow;
  while (flow->begin < flow->end) {
    ssize_t n = send(way->to, flow->bytes + flow->begin, flow->end - flow->begin, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) return is_busy() ? 0 : -1;
    flow->begin += (size_t)n;
  }
  if (flow->bytes) free_flow(flow);
  return 1;
}

/* Has bytes wait. Returns 0 where there is no memory for it. */
static int put(struct flow *flow, const uint8_t *bytes, size_t length) {
  if (!flow->bytes && !(flow->bytes = map(length))) return 0;
  flow->size = flow->end = length;
  flow->begin = 0;
  memcpy(flow->bytes, bytes, length);
  return 1;
}

/* Passes one direction on. Returns 1 when there may be more, 0 when it is to wait or over, -1 when the connection is broken. */
static int pass(struct way *way) {
  static uint8_t piece[PIECE_BYTES];
  for (int round = 0; round < ROUNDS && !way->flow.is_over; round++) {
    int flushed = flush(way);
    if (flushed <= 0) return flushed;
    ssize_t n = recv(way->from, piece, sizeof piece, MSG_DONTWAIT);
    if (n < 0) return is_busy() ? 0 : -1;
    if (n == 0) {
      shutdown(way->to, SHUT_WR);
      way->flow.is_over = 1;
      return 0;
    }
    ssize_t sent = send(way->to, piece, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && !is_busy()) return -1;
    if (sent < 0) sent = 0;
    if (sent < n && !put(&way->flow, piece + sent, (size_t)(n - sent))) return -1;
  }
  return !way->flow.is_over;
}

static void go_on(int32_t place) {
  struct way *ways = own.ways[place];
  if (ways[0].from < 0) return;
  int up = pass(&ways[0]), down = up < 0 ? -1 : pass(&ways[1]);
  if (up < 0 || down < 0) end_passage(place, 1);
  else if (ways[0].flow.is_over && ways[1].flow.is_over) end_passage(place, 0);
  else if (up || down) set_ready(place);
}

/* ---- what we leave ---- */

/* Copies the bytes of a direction from one place to another. Returns 0 if some of them are missing. */
static int recover(const struct direction *d, const struct side *from, uint64_t begin, uint64_t end, uint8_t *to) {
  uint64_t place = begin;
  for (int32_t at = d->first, count = 0; at >= 0 && at < MOST_CHUNKS && count < MOST_CHUNKS; at = estate->next_chunk[at], count++) {
    const struct chunk *chunk = &estate->chunks[at];
    if (place < chunk->from || place >= chunk->from + chunk->length || place >= end) continue;
    uint64_t last = chunk->from + chunk->length < end ? chunk->from + chunk->length : end;
    memcpy(to + (place - begin), chunk->bytes + (place - chunk->from), (size_t)(last - place));
    place = last;
  }
  /* The rest of it was just read. */
  if (place == end) return 1;
  size_t room;
  const uint8_t *memory = sockets_memory(&room);
  if (!from->is_live || place < from->from || end - from->from > room - from->at) return 0;
  memcpy(to + (place - begin), memory + from->at + (place - from->from), (size_t)(end - place));
  return 1;
}

/* What was read of `from` and not written to `to`, into the flow. Returns 0 if it can't be known. */
static int inherit(const struct direction *d, const struct side *from, const struct side *to, struct flow *flow) {
  uint64_t read, ignored, written = 0;
  int is_unknown;
  if (!passage_counts(from->fd, &read, &ignored)) return 0;
  read -= from->received;
  if (to->fd >= 0) {
    if (!passage_counts(to->fd, &ignored, &written)) return 0;
    written -= to->acknowledged;
  }
  uint64_t place = passage_place(d, to->fd >= 0, written, &is_unknown);
  if (is_unknown || place > read || read - place > sizeof estate->chunks) return 0;
  if (place == read) return 1;
  size_t length = (size_t)(read - place);
  if (!(flow->bytes = map(length))) return 0;
  flow->size = flow->end = length;
  return recover(d, from, place, read, flow->bytes);
}

static void take_over(const struct passage *p) {
  struct flow up = {0}, down = {0};
  const struct side none = {.fd = -1}, *application = p->application.fd >= 0 ? &p->application : &none;
  int is_known = p->state == PASSING && inherit(&p->up, &p->client, application, &up);
  if (is_known && application->fd >= 0) is_known = inherit(&p->down, application, &p->client, &down);
  int fd = application->fd;
  if (is_known && fd < 0) fd = dial(&p->destination, p->destination_length, &p->source, p->source_length);
  int32_t place = -1;
  if (is_known && fd >= 0) place = begin_passage(p->client.fd, fd);
  else reset(p->client.fd), reset(fd);
  if (place >= 0) {
    own.ways[place][0].flow = up;
    own.ways[place][1].flow = down;
    return;
  }
  free_flow(&up);
  free_flow(&down);
}

static int is_loopback(const struct sockaddr_storage *address) {
  const struct sockaddr_in *v4 = (const void *)address;
  const struct sockaddr_in6 *v6 = (const void *)address;
  static const struct in6_addr of_meshes = {{{[15] = 6}}}; /* application.ts */
  if (address->ss_family == AF_INET) return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) || IN6_ARE_ADDR_EQUAL(&v6->sin6_addr, &of_meshes);
}

/* A connection that was redirected, and of which nothing was read. */
static void pass_from_the_beginning(int fd) {
  struct sockaddr_storage peer, to;
  socklen_t peer_length = sizeof peer, to_length = 0;
  if (getpeername(fd, (struct sockaddr *)&peer, &peer_length) == 0) {
    address_unmap(&peer);
    to_length = address_before_redirect(fd, peer.ss_family, &to);
  }
  if (!to_length) {
    reset(fd);
    return;
  }
  peer_length = peer.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
  if (peer.ss_family == AF_INET) ((struct sockaddr_in *)&peer)->sin_port = 0;
  else ((struct sockaddr_in6 *)&peer)->sin6_port = 0;
  int is_local = peer.ss_family == to.ss_family && is_loopback(&peer);
  int application = dial(&to, to_length, &peer, is_local ? peer_length : 0);
  if (application < 0) reset(fd);
  else begin_passage(fd, application);
}

/* Passes on who still comes to our listener. */
static void accept_late(int listener) {
  for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) pass_from_the_beginning(fd);
}

static int port_of(int fd) {
  struct sockaddr_storage own;
  socklen_t length = sizeof own;
  if (getsockname(fd, (struct sockaddr *)&own, &length) < 0) return -1;
  if (own.ss_family == AF_INET) return ((struct sockaddr_in *)&own)->sin_port;
  return own.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&own)->sin6_port : -1;
}

/* Whether we had accepted a connection, and have died before we knew more of it. */
static int is_untouched(int fd, int listening_port) {
  uint64_t read, written;
  return port_of(fd) == listening_port && passage_counts(fd, &read, &written) && !read && !written;
}

static void serve_until_over(void) {
  struct epoll_event events[EVENTS];
  int64_t listen_until = own.began + (estate->command_fd >= 0 ? COMMAND_MS : EXPIRY_MS);
  int is_listening = 1;
  for (;;) {
    int64_t now = now_ms();
    if (is_listening && now >= listen_until) {
      for (int i = 0; i < 2; i++)
        if (estate->listeners[i] >= 0) close(estate->listeners[i]);
      is_listening = 0;
    }
    if ((!is_listening && !own.open_count) || now - own.began >= LINGER_MS) return;
    int wait = own.ready_count ? 0 : is_listening ? (int)(listen_until - now) : 10000;
    int count = epoll_wait(own.epoll, events, EVENTS, wait);
    for (int i = 0; i < count; i++) {
      if (events[i].data.u32 >= MOST_PASSAGES) accept_late(estate->listeners[events[i].data.u32 - MOST_PASSAGES]);
      else set_ready((int32_t)events[i].data.u32);
    }
    /* Those that have more to do have their next turn after the others'. */
    int32_t *turn = own.ready, turns = own.ready_count;
    own.ready = own.turn;
    own.turn = turn;
    own.ready_count = 0;
    for (int32_t i = 0; i < turns; i++) {
      own.is_ready[turn[i]] = 0;
      go_on(turn[i]);
    }
  }
}

/* Finds those; returns how many. */
static int32_t find_untouched(uint8_t *is_kept, int32_t *found, int32_t room) {
  int port = estate->listeners[0] < 0 ? -1 : port_of(estate->listeners[0]);
  int32_t count = 0;
  for (int fd = 3; port > 0 && fd < MOST_DESCRIPTORS && count < room; fd++) {
    if (is_kept[fd] || !is_untouched(fd, port)) continue;
    is_kept[fd] = 1;
    found[count++] = fd;
  }
  return count;
}

static void go_on_without_us(void) {
  uint8_t *is_kept = map(MOST_DESCRIPTORS);
  own.ways = map(MOST_PASSAGES * sizeof *own.ways);
  own.free_places = map(MOST_PASSAGES * sizeof *own.free_places);
  own.ready = map(MOST_PASSAGES * sizeof *own.ready);
  own.turn = map(MOST_PASSAGES * sizeof *own.turn);
  own.is_ready = map(MOST_PASSAGES);
  own.began = now_ms();
  if (!is_kept || !own.ways || !own.free_places || !own.ready || !own.turn || !own.is_ready) return;
  int32_t count = 0;
  for (int32_t at = 0; at < MOST_PASSAGES; at++) {
    const struct passage *p = &estate->passages[at];
    own.free_places[own.free_count++] = MOST_PASSAGES - 1 - at;
    if (!p->is_used) continue;
    count++;
    keep_open(is_kept, p->client.fd);
    keep_open(is_kept, p->application.fd);
  }
  /* In good order nothing is left, and whoever ends so has removed the rules. */
  if (!count && estate->listeners[0] < 0) return;
  if (estate->command_fd >= 0) (void)!write(estate->command_fd, estate->command, (size_t)estate->command_length);
  for (int i = 0; i < 2; i++) keep_open(is_kept, estate->listeners[i]);
  for (int i = 0; i < 4; i++) keep_open(is_kept, estate->kept[i]);
  int32_t untouched[BATCH], untouched_count = find_untouched(is_kept, untouched, BATCH);
  close_others(is_kept);
  munmap(is_kept, MOST_DESCRIPTORS);
  own.epoll = epoll_create1(EPOLL_CLOEXEC);
  for (uint32_t i = 0; i < 2; i++) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = MOST_PASSAGES + i};
    if (estate->listeners[i] >= 0) epoll_ctl(own.epoll, EPOLL_CTL_ADD, estate->listeners[i], &event);
  }
  for (int32_t at = 0; at < MOST_PASSAGES; at++)
    if (estate->passages[at].is_used) take_over(&estate->passages[at]);
  for (int32_t i = 0; i < untouched_count; i++) pass_from_the_beginning(untouched[i]);
  serve_until_over();
}

static _Noreturn void stand_by(pid_t parent) {
  sigset_t awaited;
  sigemptyset(&awaited);
  sigaddset(&awaited, SIGUSR1);
  prctl(PR_SET_PDEATHSIG, SIGUSR1);
  forget_memory();
  take_name("mirrord-standby");
  /* Nobody else has a reason to send it that; if somebody does, we are still there. */
  while (getppid() == parent) sigwaitinfo(&awaited, NULL);
  go_on_without_us();
  _exit(0);
}

/* startStandby() -> pid | -errno: a process that goes on with what `openPassages` has an account of. */
static napi_value start_standby(napi_env env, napi_callback_info info) {
  (void)info;
  if (!estate) return number(env, -EINVAL);
  sigset_t all, former;
  pid_t self = getpid();
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &former);
  /* No signal when it ends: it is not libuv's. */
  pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES, NULL, NULL, NULL, NULL);
  int failure = errno;
  if (!pid) stand_by(self);
  pthread_sigmask(SIG_SETMASK, &former, NULL);
  return number(env, pid < 0 ? -failure : pid);
}

static int32_t element(napi_env env, napi_value array, uint32_t at) {
  napi_value value;
  return napi_get_element(env, array, at, &value) == napi_ok ? int_argument(env, value) : -1;
}

static int32_t copy_text(napi_env env, napi_value value, char *to, size_t room) {
  size_t length;
  uint8_t *bytes = bytes_argument(env, value, &length);
  if (!bytes || length > room) return 0;
  memcpy(to, bytes, length);
  return (int32_t)length;
}

/* setStandby(listeners, kept, command, mark): what it needs besides: descriptors of two listeners; of four that it keeps, the
 * first of which gets the command; the mark of connections to the application. */
static napi_value set_standby(napi_env env, napi_callback_info info) {
  napi_value args[4];
  arguments(env, info, args, 4);
  if (!estate) return number(env, -EINVAL);
  estate->command_fd = -1;
  atomic_signal_fence(memory_order_seq_cst);
  for (uint32_t i = 0; i < 2; i++) estate->listeners[i] = element(env, args[0], i);
  for (uint32_t i = 0; i < 4; i++) estate->kept[i] = element(env, args[1], i);
  estate->command_length = copy_text(env, args[2], estate->command, sizeof estate->command);
  estate->mark = (uint32_t)int_argument(env, args[3]);
  atomic_signal_fence(memory_order_seq_cst);
  estate->command_fd = estate->kept[0];
  return number(env, 0);
}

void export_standby(napi_env env, napi_value exports) {
  export_functions(env, exports, (const struct exported[]){{"startStandby", start_standby}, {"setStandby", set_standby}, {0}});
}
