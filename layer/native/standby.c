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
 * The memory that it has from us is given back at once (standby-self.c). Other threads may have held locks when it was cloned, so it calls
 * nothing that has any: no malloc, no stdio.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "napi-arguments.h"
#include "passages.h"
#include "socket.h"
#include "standby.h"

/* How long connections may still come to our listener, ms: until the rules have expired (rules.ts); where they were told to go, none has
 * come for a while before. */
enum { QUIET_MS = 2000, EXPIRY_MS = 10000 };
/* How long passages may go on, ms, as when an agent ends (interceptor.ts). */
enum { LINGER_MS = 3600000 };
/* Connections that are accepted at a time, at most (listener.c). */
enum { BATCH = 64 };
enum { MOST_DESCRIPTORS = 1 << 16 };

/* ---- descriptors ---- */

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

/* ---- what we leave ---- */

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

/* Copies bytes from one place to another; `from`: what was just read may have the rest. Returns 0 if some of them are missing. */
static int recover(const struct list *list, const struct side *from, uint64_t begin, uint64_t end, uint8_t *to) {
  uint64_t place = begin;
  for (int32_t at = list->first, count = 0; at >= 0 && at < MOST_CHUNKS && count < MOST_CHUNKS; at = estate->next_chunk[at], count++) {
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
  if (!from || !from->is_live || place < from->from || end - from->from > room - from->at) return 0;
  memcpy(to + (place - begin), memory + from->at + (place - from->from), (size_t)(end - place));
  return 1;
}

/* The same, into a flow. */
static int recover_flow(const struct list *list, const struct side *from, uint64_t begin, uint64_t end, struct flow *flow) {
  if (begin == end) return 1;
  if (begin > end || end - begin > sizeof estate->chunks) return 0;
  size_t length = (size_t)(end - begin);
  if (!(flow->bytes = map(length))) return 0;
  flow->size = flow->end = length;
  return recover(list, from, begin, end, flow->bytes);
}

/* What was read of `from` and not written to `to`, into the flow; of what is divided, into `output` what is written before that. Returns
 * 0 if it can't be known. */
static int inherit(const struct direction *d, const struct side *from, const struct side *to, struct flow *flow,
                   struct flow *output) {
  uint64_t read, ignored, written = 0;
  int is_unknown;
  if (!passage_counts(from->fd, &read, &ignored)) return 0;
  read -= from->received;
  if (to->fd >= 0) {
    if (!passage_counts(to->fd, &ignored, &written)) return 0;
    written -= to->acknowledged;
  }
  if (output) return recover_flow(&d->pending, NULL, written, d->out, output) && recover_flow(&d->unwritten, from, d->start, read, flow);
  uint64_t place = passage_place(d, to->fd >= 0, written, &is_unknown);
  return !is_unknown && recover_flow(&d->unwritten, from, place, read, flow);
}

static void take_over(struct passage *p) {
  struct flow up = {0}, down = {0}, up_output = {0}, down_output = {0};
  const struct side none = {.fd = -1}, *application = p->application.fd >= 0 ? &p->application : &none;
  struct division *division = p->is_divided ? &p->divisions[p->is_divided - 1] : NULL;
  int is_known = p->state == PASSING && inherit(&p->up, &p->client, application, &up, division ? &up_output : NULL);
  if (is_known && application->fd >= 0)
    is_known = inherit(&p->down, application, &p->client, &down, division ? &down_output : NULL);
  int fd = application->fd;
  if (is_known && fd < 0) fd = dial(&p->destination, p->destination_length, &p->source, p->source_length);
  if (is_known && fd >= 0) {
    if (division) forward_divided(p->client.fd, fd, (struct flow[]){up_output, down_output}, (struct flow[]){up, down}, division);
    else forward(p->client.fd, fd, up, down);
    return;
  }
  free_flow(&up);
  free_flow(&down);
  free_flow(&up_output);
  free_flow(&down_output);
  reset(p->client.fd);
  reset(fd);
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
  else forward(fd, application, (struct flow){0}, (struct flow){0});
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

/* Finds those; returns how many. */
static int32_t find_untouched(uint8_t *is_kept, int32_t *found, int32_t room) {
  int port = estate->listener < 0 ? -1 : port_of(estate->listener);
  int32_t count = 0;
  for (int fd = 3; port > 0 && fd < MOST_DESCRIPTORS && count < room; fd++) {
    if (is_kept[fd] || !is_untouched(fd, port)) continue;
    is_kept[fd] = 1;
    found[count++] = fd;
  }
  return count;
}

/* Returns how many passages there are. */
static int32_t keep_passages(uint8_t *is_kept) {
  int32_t count = 0;
  for (int32_t at = 0; at < MOST_PASSAGES; at++) {
    const struct passage *p = &estate->passages[at];
    if (!p->is_used) continue;
    count++;
    keep_open(is_kept, p->client.fd);
    keep_open(is_kept, p->application.fd);
  }
  return count;
}

static void go_on_without_us(void) {
  uint8_t *is_kept = map(MOST_DESCRIPTORS);
  if (!is_kept) return;
  /* In good order nothing is left, and whoever ends so has removed the rules. */
  if (!keep_passages(is_kept) && estate->listener < 0) return;
  int is_commanded = estate->command_fd >= 0;
  if (is_commanded) (void)!write(estate->command_fd, estate->command, (size_t)estate->command_length);
  keep_open(is_kept, estate->listener);
  for (int i = 0; i < MOST_KEPT; i++) keep_open(is_kept, estate->kept[i]);
  int32_t untouched[BATCH], untouched_count = find_untouched(is_kept, untouched, BATCH);
  close_others(is_kept);
  munmap(is_kept, MOST_DESCRIPTORS);
  if (!begin_forwarding()) return;
  forward_from(estate->listener, accept_late);
  for (int32_t at = 0; at < MOST_PASSAGES; at++)
    if (estate->passages[at].is_used) take_over(&estate->passages[at]);
  for (int32_t i = 0; i < untouched_count; i++) pass_from_the_beginning(untouched[i]);
  forward_until_over(is_commanded ? QUIET_MS : EXPIRY_MS, EXPIRY_MS, LINGER_MS);
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

static pid_t standby;

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
  if (pid > 0) standby = pid;
  return number(env, pid < 0 ? -failure : pid);
}

/* standbyIsOver() -> whether it has ended before us, once for each that was started. */
static napi_value standby_is_over(napi_env env, napi_callback_info info) {
  (void)info;
  int is_over = standby > 0 && waitpid(standby, NULL, WNOHANG | __WCLONE) == standby;
  if (is_over) standby = 0;
  return number(env, is_over);
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

/* setStandby(listener, kept, command, mark): what it needs besides: the descriptor of a listener, or -1; those that it keeps, the
 * first of which gets the command; the mark of connections to the application. */
static napi_value set_standby(napi_env env, napi_callback_info info) {
  napi_value args[4];
  arguments(env, info, args, 4);
  if (!estate) return number(env, -EINVAL);
  estate->command_fd = -1;
  atomic_signal_fence(memory_order_seq_cst);
  estate->listener = int_argument(env, args[0]);
  for (uint32_t i = 0; i < MOST_KEPT; i++) estate->kept[i] = element(env, args[1], i);
  estate->command_length = copy_text(env, args[2], estate->command, sizeof estate->command);
  estate->mark = (uint32_t)int_argument(env, args[3]);
  atomic_signal_fence(memory_order_seq_cst);
  estate->command_fd = estate->kept[0];
  return number(env, 0);
}

void export_standby(napi_env env, napi_value exports) {
  export_functions(env, exports, (const struct exported[]){{"startStandby", start_standby},
                                                           {"standbyIsOver", standby_is_over},
                                                           {"setStandby", set_standby}, {0}});
}
