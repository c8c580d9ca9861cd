/*
 * Records of a SOCK_SEQPACKET unix socket as bytes of a stream, for Node, which knows no such sockets.
 *
 *   launcher records connected     relays between the stream, descriptor 3, and the socket, descriptor 4
 *   launcher records dial NAME LENGTH
 *                                  connects the socket itself, to a path, or to an abstract @NAME that zero
 *                                  bytes fill up to LENGTH; says on the stream first how that went, by one
 *                                  byte: 0 or the errno
 *
 * On the stream a record is its length (uint32, big-endian) and so many bytes; NO_MORE instead of a length
 * says that the sender has shut its direction down. A stream that ends without it was broken off, and so is
 * the socket: this is how what stands behind either sees the difference.
 *
 * One process a connection: the kernel then does the waiting. A record is held until the other side has
 * taken it, so that a slow reader stops the sender, and no more than one a direction is in memory.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "launcher.h"

enum { STREAM = 3, SOCKET = 4, HEADER = 4 };
#define RECORD_MAX (1024 * 1024)
#define NO_MORE UINT32_MAX

/* How it ended, as a status. */
enum { DONE = 0, BROKEN_OFF = 1, RECORD_TOO_LONG = 3 };

/* What goes from one side to the other: a header and its record. */
struct piece {
  uint8_t bytes[HEADER + RECORD_MAX];
  size_t filled, done;
  int is_over;
};
static struct piece out, in;

static uint32_t length_of(const struct piece *p) {
  uint32_t length;
  memcpy(&length, p->bytes, HEADER);
  return ntohl(length);
}

static int is_pending(const struct piece *p) { return p->filled > p->done; }

/* Reads one record. A record of no bytes looks like the end, but for the sender's credentials (SO_PASSCRED). */
static void take_record(int socket) {
  char control[CMSG_SPACE(256)];
  struct iovec vector = {out.bytes + HEADER, RECORD_MAX};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  ssize_t n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) exit(BROKEN_OFF);
  if (message.msg_flags & MSG_TRUNC) exit(RECORD_TOO_LONG);
  out.is_over = n == 0 && !CMSG_FIRSTHDR(&message);
  uint32_t length = htonl(out.is_over ? NO_MORE : (uint32_t)n);
  memcpy(out.bytes, &length, HEADER);
  out.filled = HEADER + (size_t)n;
  out.done = 0;
}

static void give_bytes(void) {
  ssize_t n = send(STREAM, out.bytes + out.done, out.filled - out.done, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN && errno != EINTR) exit(BROKEN_OFF);
  if (n > 0) out.done += (size_t)n;
  if (out.is_over && !is_pending(&out)) shutdown(STREAM, SHUT_WR);
}

/* Reads what the header lacks, or the record. Returns whether one is whole. */
static int take_bytes(void) {
  size_t wanted = HEADER;
  if (in.filled >= HEADER) wanted += length_of(&in);
  if (in.filled < wanted) {
    ssize_t n = recv(STREAM, in.bytes + in.filled, wanted - in.filled, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (n <= 0) exit(BROKEN_OFF);
    in.filled += (size_t)n;
  }
  if (in.filled < HEADER) return 0;
  in.is_over = length_of(&in) == NO_MORE;
  if (!in.is_over && length_of(&in) > RECORD_MAX) exit(RECORD_TOO_LONG);
  return in.is_over || in.filled == HEADER + length_of(&in);
}

static int give_record(int socket) {
  if (in.is_over) return shutdown(socket, SHUT_WR), 1;
  ssize_t n = send(socket, in.bytes + HEADER, in.filled - HEADER, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (n < 0) exit(errno == EMSGSIZE ? RECORD_TOO_LONG : BROKEN_OFF);
  in.filled = 0;
  return 1;
}

static void relay(int socket) {
  int one = 1, buffer = 2 * RECORD_MAX, is_whole = 0;
  setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
  /* A sender may have had the right to more than net.core.wmem_max; we may not. */
  if (setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) < 0)
    setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  while (!out.is_over || !in.is_over || is_pending(&out) || is_whole) {
    struct pollfd watched[] = {{STREAM, 0, 0}, {socket, 0, 0}};
    if (is_pending(&out)) watched[0].events |= POLLOUT;
    else if (!out.is_over) watched[1].events |= POLLIN;
    if (is_whole) watched[1].events |= POLLOUT;
    else if (!in.is_over) watched[0].events |= POLLIN;
    /* Hung up, a descriptor is always ready: it is left out while nothing is wanted of it. But whoever holds
     * the stream may be gone when nothing more is expected from there, and then so are we. */
    if (!watched[0].events && is_whole) watched[0].fd = -1;
    if (!watched[1].events) watched[1].fd = -1;
    if (poll(watched, 2, -1) < 0 && errno != EINTR) exit(BROKEN_OFF);
    if (!watched[0].events && watched[0].revents) exit(BROKEN_OFF);
    if (watched[0].revents && is_pending(&out)) give_bytes();
    else if (watched[1].revents && !is_pending(&out) && !out.is_over) take_record(socket);
    if (watched[1].revents && is_whole) is_whole = !give_record(socket);
    else if (watched[0].revents && !is_whole && !in.is_over) is_whole = take_bytes();
  }
}

static int dial(const char *name, size_t padded) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t length = strlen(name);
  if (length >= sizeof address.sun_path || padded > sizeof address.sun_path) return errno = ENAMETOOLONG, -1;
  memcpy(address.sun_path, name, length);
  if (*name == '@') address.sun_path[0] = 0;
  if (*name != '@' || padded < length) padded = length + (*name != '@');
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + padded);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  return fd < 0 || connect(fd, (struct sockaddr *)&address, size) < 0 ? -1 : fd;
}

int relay_records(int argc, char **argv) {
  int socket = SOCKET;
  if (!strcmp(argv[0], "dial") && argc > 2) {
    socket = dial(argv[1], (size_t)atoi(argv[2]));
    uint8_t code = socket < 0 ? (uint8_t)errno : 0;
    if (send(STREAM, &code, 1, MSG_NOSIGNAL) != 1 || code) return BROKEN_OFF;
  }
  relay(socket);
  return DONE;
}
