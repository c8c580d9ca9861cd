/*
 * The server: a process for each kind of load, so that none waits for another; ports of its own for each, on all
 * addresses. Ends when its standard input does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { EVENTS = 64, RECEIVE_BUFFER = 4 * 1024 * 1024 };

struct connection {
  int fd;
  size_t head_length;
  struct bulk_head head;
  struct bulk_count count;
};

/* Does what there is to do; returns whether the connection is over. */
typedef bool (*handler)(int epoll, struct connection *connection);

static void watch(int epoll, struct connection *connection, uint32_t events, int operation) {
  struct epoll_event event = {.events = events, .data.ptr = connection};
  if (epoll_ctl(epoll, operation, connection->fd, &event) < 0) die("epoll_ctl");
}

static void accept_all(int epoll, int listener) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED)) return;
    if (fd < 0) die("accept");
    no_delay(fd);
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) die("calloc");
    connection->fd = fd;
    watch(epoll, connection, EPOLLIN, EPOLL_CTL_ADD);
  }
}

static void serve_connections(int listener, handler handle) {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct connection accepting = {.fd = listener};
  watch(epoll, &accepting, EPOLLIN, EPOLL_CTL_ADD);
  for (;;) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < ready; i++) {
      struct connection *connection = events[i].data.ptr;
      if (connection == &accepting) {
        accept_all(epoll, listener);
      } else if (handle(epoll, connection)) {
        close(connection->fd);
        free(connection);
      }
    }
  }
}

/* Sends what fits into any socket's buffer. A client that has gone meanwhile is none of our business. */
static bool answer(int fd, const void *bytes, size_t length) { return write(fd, bytes, length) == (ssize_t)length; }

static bool read_head(int epoll, struct connection *connection) {
  ssize_t got = read(connection->fd, (char *)&connection->head + connection->head_length,
                     sizeof connection->head - connection->head_length);
  if (got <= 0) return got == 0 || errno != EAGAIN;
  connection->head_length += (size_t)got;
  if (connection->head_length == sizeof connection->head && !connection->head.is_up)
    watch(epoll, connection, EPOLLOUT, EPOLL_CTL_MOD);
  return false;
}

static bool bulk_handler(int epoll, struct connection *connection) {
  const struct bulk_head *head = &connection->head;
  if (connection->head_length < sizeof *head) return read_head(epoll, connection);
  if (!head->is_up) {
    if (now_ns() >= head->until_ns) return true;
    return write(connection->fd, block, BLOCK) < 0 && errno != EAGAIN;
  }
  ssize_t got = read(connection->fd, block, BLOCK);
  if (got < 0) return errno != EAGAIN;
  if (got == 0) {
    answer(connection->fd, &connection->count, sizeof connection->count);
    return true;
  }
  uint64_t now = now_ns();
  if (now >= head->from_ns && now < head->until_ns) connection->count.counted += (uint64_t)got;
  connection->count.all += (uint64_t)got;
  return false;
}

static bool echo_handler(int epoll, struct connection *connection) {
  (void)epoll;
  char bytes[4096];
  ssize_t got = read(connection->fd, bytes, sizeof bytes);
  if (got <= 0) return got == 0 || errno != EAGAIN;
  return !answer(connection->fd, bytes, (size_t)got);
}

static bool short_handler(int epoll, struct connection *connection) {
  (void)epoll;
  char bytes[SHORT_BYTES];
  ssize_t got = read(connection->fd, bytes, sizeof bytes);
  if (got <= 0) return got == 0 || errno != EAGAIN;
  connection->count.all += (uint64_t)got;
  if (connection->count.all < SHORT_BYTES) return false;
  answer(connection->fd, bytes, sizeof bytes);
  return true;
}

static void serve_datagrams(int fd) {
  struct udp_count count = {0};
  for (;;) {
    char bytes[2048];
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    ssize_t got = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &length);
    if (got < (ssize_t)sizeof(struct udp_head)) continue;
    struct udp_head head;
    memcpy(&head, bytes, sizeof head);
    if (head.is_question) {
      sendto(fd, &count, sizeof count, 0, (struct sockaddr *)&from, length);
      continue;
    }
    uint64_t now = now_ns();
    if (head.session != count.session) count = (struct udp_count){.session = head.session, .first_ns = now};
    count.received++;
    count.last_ns = now;
  }
}

static int bind_datagrams(uint16_t *port) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t length = sizeof address;
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0) die("udp bind");
  set_option(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
  if (getsockname(fd, (struct sockaddr *)&address, &length) < 0) die("getsockname");
  *port = ntohs(address.sin_port);
  return fd;
}

void serve(void) {
  handler handlers[] = {bulk_handler, echo_handler, short_handler};
  uint16_t ports[4];
  int fds[4];
  for (int i = 0; i < 3; i++) fds[i] = listen_on_any(&ports[i]);
  fds[3] = bind_datagrams(&ports[3]);
  for (int i = 0; i < 4; i++) {
    pid_t child = fork();
    if (child < 0) die("fork");
    if (child > 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (i < 3) serve_connections(fds[i], handlers[i]);
    serve_datagrams(fds[i]);
  }
  printf("{\"bulk\":%u,\"echo\":%u,\"short\":%u,\"udp\":%u}\n", ports[0], ports[1], ports[2], ports[3]);
  fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) continue;
}
