/*
 * Datagram sockets on Node's loop, many datagrams a call: the other half of the socket addon (socket.c).
 *
 * Theory of operation. All sockets of a process receive into one ring of slots by recvmmsg(2); the callback is called
 * once for what came, and takes or copies it in the same breath. Sending is sendmmsg(2) of what JavaScript has gathered.
 * Of both, a call costs little beside what the kernel does for each datagram.
 *
 * Datagrams of one size to one place cross the kernel as one, which is divided where it has to be (UDP_SEGMENT,
 * Documentation/networking/segmentation-offloads.rst): by the receiving socket, or the device. A path on which that can't be, or a size
 * that the path does not take whole, is met once for a socket.
 *
 * An ICMP error is the socket's until somebody is told (SO_ERROR): recvmmsg, sendmmsg or epoll, whichever is first.
 * It ends nothing.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "napi-arguments.h"
#include "polling.h"
#include "socket.h"

enum { SLOTS = 32, SLOT_BYTES = 65536, NOTE_BYTES = 24, READ_ROUNDS = 4, MOST_PARTS = 64 };
/* Of datagrams that cross as one: what fits a path at all, and an IPv6 packet. The kernel's limit is 64 of them. */
enum { MOST_SEGMENT = 16384, MOST_BYTES = 65000 };

/* Where all of them receive: SLOTS of SLOT_BYTES, and of each slot a note: uint32 length, length of the sender's
 * endpoint, the endpoint. */
static struct {
  napi_ref references[2];
  uint8_t *slots, *notes;
  struct mmsghdr messages[SLOTS];
  struct iovec vectors[SLOTS];
  struct sockaddr_storage senders[SLOTS];
} ring;

/* What is waited for, as JavaScript says it. */
enum { TO_READ = 1, TO_WRITE = 2 };

struct datagrams {
  struct polled polled;
  int watched;  /* TO_READ, … */
  int is_plain; /* each datagram goes by itself */
};

static struct datagrams *datagrams_argument(napi_env env, napi_value value) {
  return polled_find(int_argument(env, value), DATAGRAM_SOCKET);
}

static void apply(struct datagrams *d) {
  polled_watch(&d->polled, (d->watched & TO_READ ? EPOLLIN : 0) | (d->watched & TO_WRITE ? EPOLLOUT : 0));
}

static void note(int slot) {
  uint8_t *at = ring.notes + slot * NOTE_BYTES;
  uint32_t length = ring.messages[slot].msg_len;
  memcpy(at, &length, sizeof length);
  at[4] = (uint8_t)endpoint_of_sockaddr(at + 5, &ring.senders[slot]);
}

/* Receives until nothing is there or others are to have a turn. Returns whether an error was told. */
static int take(struct datagrams *d) {
  for (int round = 0; round < READ_ROUNDS && d->polled.fd >= 0 && (d->watched & TO_READ); round++) {
    for (int i = 0; i < SLOTS; i++) ring.messages[i].msg_hdr.msg_namelen = sizeof ring.senders[i];
    int count = recvmmsg(d->polled.fd, ring.messages, SLOTS, MSG_DONTWAIT, NULL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      if (errno == EAGAIN) return 0;
      sockets_tell(d->polled.id, FAILED, -errno);
      return 1;
    }
    for (int i = 0; i < count; i++) note(i);
    sockets_tell(d->polled.id, DATAGRAMS, count);
    if (count < SLOTS) return 0;
  }
  return 0;
}

static void on_ready(struct polled *polled, uint32_t events) {
  struct datagrams *d = (struct datagrams *)polled;
  if (events & EPOLLERR) {
    int failure = 0;
    socklen_t size = sizeof failure;
    if (!take(d) && d->polled.fd >= 0 && getsockopt(d->polled.fd, SOL_SOCKET, SO_ERROR, &failure, &size) == 0 && failure)
      sockets_tell(d->polled.id, FAILED, -failure);
    return;
  }
  if ((events & EPOLLOUT) && (d->watched & TO_WRITE)) {
    d->watched &= ~TO_WRITE;
    apply(d);
    sockets_tell(d->polled.id, WRITABLE, 0);
  }
  if (d->polled.fd >= 0 && (events & EPOLLIN)) take(d);
}

/* startDatagrams(slots, notes) -> 0 | -errno: after start(), once. */
static napi_value start_datagrams(napi_env env, napi_callback_info info) {
  napi_value args[2];
  size_t sizes[2];
  arguments(env, info, args, 2);
  if (ring.slots) return number(env, -EBUSY);
  uint8_t *slots = bytes_argument(env, args[0], &sizes[0]);
  uint8_t *notes = bytes_argument(env, args[1], &sizes[1]);
  if (!slots || !notes || sizes[0] < SLOTS * SLOT_BYTES || sizes[1] < SLOTS * NOTE_BYTES) return number(env, -EINVAL);
  for (int i = 0; i < 2; i++) napi_create_reference(env, args[i], 1, &ring.references[i]);
  ring.slots = slots;
  ring.notes = notes;
  for (int i = 0; i < SLOTS; i++) {
    ring.vectors[i] = (struct iovec){slots + i * SLOT_BYTES, SLOT_BYTES};
    ring.messages[i].msg_hdr = (struct msghdr){.msg_name = &ring.senders[i], .msg_iov = &ring.vectors[i], .msg_iovlen = 1};
  }
  return number(env, 0);
}

/* openDatagrams(family, isShared) -> id | -errno: an IPv4 or IPv6 socket, whose port others may share. Nothing is
 * watched yet. */
static napi_value open_datagrams(napi_env env, napi_callback_info info) {
  napi_value args[2];
  bool shared = false;
  int on = 1;
  arguments(env, info, args, 2);
  int family = int_argument(env, args[0]) == 4 ? AF_INET : AF_INET6;
  napi_get_value_bool(env, args[1], &shared);
  int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return number(env, -errno);
  if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (shared) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct datagrams *d = calloc(1, sizeof *d);
  int failure = d ? polled_open(&d->polled, DATAGRAM_SOCKET, fd, on_ready) : -ENOMEM;
  if (failure < 0) {
    close(fd);
    free(d);
    return number(env, failure);
  }
  return number(env, d->polled.id);
}

static int own_port(int fd) {
  uint8_t endpoint[ENDPOINT_BYTES];
  struct sockaddr_storage own;
  socklen_t size = sizeof own;
  if (getsockname(fd, (struct sockaddr *)&own, &size) < 0) return -errno;
  endpoint_of_sockaddr(endpoint, &own);
  return endpoint[0] << 8 | endpoint[1];
}

/* Binds or connects; the result is the socket's own port, or a negative errno. */
static napi_value with_endpoint(napi_env env, napi_callback_info info,
                                int (*act)(int, const struct sockaddr *, socklen_t)) {
  napi_value args[2];
  size_t length;
  arguments(env, info, args, 2);
  struct datagrams *d = datagrams_argument(env, args[0]);
  uint8_t *endpoint = bytes_argument(env, args[1], &length);
  if (!d) return number(env, -EBADF);
  struct sockaddr_storage to;
  socklen_t size = endpoint ? endpoint_to_sockaddr(&to, endpoint, length) : 0;
  if (size == 0) return number(env, -EINVAL);
  return number(env, act(d->polled.fd, (struct sockaddr *)&to, size) < 0 ? -errno : own_port(d->polled.fd));
}

/* bindDatagrams(id, endpoint) -> own port | -errno */
static napi_value bind_datagrams(napi_env env, napi_callback_info info) { return with_endpoint(env, info, bind); }

/* connectDatagrams(id, endpoint) -> own port | -errno */
static napi_value connect_datagrams(napi_env env, napi_callback_info info) { return with_endpoint(env, info, connect); }

/* watchDatagrams(id, events) -> 0 | -errno: TO_READ, … */
static napi_value watch_datagrams(napi_env env, napi_callback_info info) {
  napi_value args[2];
  arguments(env, info, args, 2);
  struct datagrams *d = datagrams_argument(env, args[0]);
  if (!d) return number(env, -EBADF);
  d->watched = int_argument(env, args[1]) & (TO_READ | TO_WRITE);
  polled_keep(&d->polled, d->watched);
  apply(d);
  return number(env, 0);
}

/* What goes out in one call: datagrams, and the messages that they are gathered in. */
struct batch {
  int count, messages;
  struct iovec payloads[MOST_PARTS];
  const uint8_t *endpoints[MOST_PARTS]; /* NULL: where the socket is connected to */
  size_t endpoint_lengths[MOST_PARTS];
  struct mmsghdr headers[MOST_PARTS];
  struct sockaddr_storage destinations[MOST_PARTS];
  union {
    char bytes[CMSG_SPACE(sizeof(uint16_t))];
    struct cmsghdr align;
  } controls[MOST_PARTS];
};

/* How many from `first` on may cross as one: of one size and to one place; the last one may be smaller. */
static int alike(const struct batch *b, int first) {
  size_t size = b->payloads[first].iov_len, bytes = size;
  int n = 1;
  if (size == 0 || size > MOST_SEGMENT) return n;
  for (; first + n < b->count; n++) {
    const struct iovec *next = &b->payloads[first + n];
    bytes += next->iov_len;
    if (next->iov_len == 0 || next->iov_len > size || bytes > MOST_BYTES) break;
    if (b->endpoints[first + n] != b->endpoints[first]) break;
    if (next->iov_len < size) return n + 1;
  }
  return n;
}

/* Gathers the datagrams into messages. Returns 0, or -EINVAL of an endpoint that is none. */
static int gather(struct batch *b, int is_plain) {
  b->messages = 0;
  for (int i = 0; i < b->count;) {
    int n = is_plain ? 1 : alike(b, i), m = b->messages++;
    struct msghdr *header = &b->headers[m].msg_hdr;
    *header = (struct msghdr){.msg_iov = &b->payloads[i], .msg_iovlen = (size_t)n};
    if (b->endpoints[i]) {
      header->msg_namelen = endpoint_to_sockaddr(&b->destinations[m], b->endpoints[i], b->endpoint_lengths[i]);
      header->msg_name = &b->destinations[m];
      if (header->msg_namelen == 0) return -EINVAL;
    }
    if (n > 1) {
      uint16_t size = (uint16_t)b->payloads[i].iov_len;
      header->msg_control = b->controls[m].bytes;
      header->msg_controllen = sizeof b->controls[m].bytes;
      struct cmsghdr *control = CMSG_FIRSTHDR(header);
      *control = (struct cmsghdr){.cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof size)};
      memcpy(CMSG_DATA(control), &size, sizeof size);
    }
    i += n;
  }
  return 0;
}

/* sendmmsg(2): how many datagrams went out, or a negative errno of the first. */
static int offer(struct datagrams *d, struct batch *b) {
  int sent, datagrams = 0;
  do sent = sendmmsg(d->polled.fd, b->headers, (unsigned)b->messages, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) return -errno;
  for (int m = 0; m < sent; m++) datagrams += (int)b->headers[m].msg_hdr.msg_iovlen;
  return datagrams;
}

/* sendDatagrams(id, payloads, endpoints, begin, end) -> how many | -errno of the first: at most MOST_PARTS. An
 * endpoint may be undefined, for a socket that is connected. */
static napi_value send_datagrams(napi_env env, napi_callback_info info) {
  napi_value args[5], element;
  struct batch b;
  arguments(env, info, args, 5);
  struct datagrams *d = datagrams_argument(env, args[0]);
  int32_t begin = int_argument(env, args[3]);
  b.count = int_argument(env, args[4]) - begin;
  if (!d) return number(env, -EBADF);
  if (begin < 0 || b.count <= 0 || b.count > MOST_PARTS) return number(env, -EINVAL);
  for (int i = 0; i < b.count; i++) {
    if (napi_get_element(env, args[1], (uint32_t)(begin + i), &element) != napi_ok) return number(env, -EINVAL);
    b.payloads[i].iov_base = bytes_argument(env, element, &b.payloads[i].iov_len);
    if (napi_get_element(env, args[2], (uint32_t)(begin + i), &element) != napi_ok) return number(env, -EINVAL);
    b.endpoints[i] = bytes_argument(env, element, &b.endpoint_lengths[i]);
  }
  int result = gather(&b, d->is_plain);
  if (result == 0) result = offer(d, &b);
  int is_gathered = b.headers[0].msg_hdr.msg_iovlen > 1;
  if (is_gathered && (result == -EINVAL || result == -EIO || result == -EMSGSIZE || result == -EOPNOTSUPP)) {
    d->is_plain = 1;
    result = gather(&b, 1);
    if (result == 0) result = offer(d, &b);
  }
  return number(env, result);
}

/* closeDatagrams(id) -> 0 | -errno */
static napi_value close_datagrams(napi_env env, napi_callback_info info) {
  napi_value args[1];
  arguments(env, info, args, 1);
  struct datagrams *d = datagrams_argument(env, args[0]);
  if (!d) return number(env, -EBADF);
  polled_close(&d->polled);
  return number(env, 0);
}

void export_datagrams(napi_env env, napi_value exports) {
  export_functions(env, exports, (const struct exported[]){{"startDatagrams", start_datagrams},
                                                           {"openDatagrams", open_datagrams},
                                                           {"bindDatagrams", bind_datagrams},
                                                           {"connectDatagrams", connect_datagrams},
                                                           {"watchDatagrams", watch_datagrams},
                                                           {"sendDatagrams", send_datagrams},
                                                           {"closeDatagrams", close_datagrams},
                                                           {0}});
}
