/*
 * Flows by the number: short ones (connect, 1 KiB there, 1 KiB back, the server closes first, so that the client
 * doesn't run out of ports), and idle ones.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { MAX_AT_ONCE = 1024, MAX_IDLE = 20000 };

struct short_flow {
  int fd;
  bool is_sent;
  uint32_t received;
};

static struct short_flow flows[MAX_AT_ONCE];
static uint64_t failed;

static void open_flow(int epoll, struct short_flow *flow, const char *host, uint16_t port) {
  *flow = (struct short_flow){.fd = begin_connect(host, port)};
  struct epoll_event event = {.events = EPOLLOUT, .data.ptr = flow};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, flow->fd, &event) < 0) die("epoll_ctl");
}

/* Returns whether the flow has ended; one that is refused or reset counts as failed. */
static bool advance(int epoll, struct short_flow *flow) {
  if (!flow->is_sent) {
    if (write(flow->fd, block, SHORT_BYTES) != SHORT_BYTES) {
      failed++;
      return true;
    }
    flow->is_sent = true;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = flow};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, flow->fd, &event) < 0) die("epoll_ctl");
    return false;
  }
  char bytes[SHORT_BYTES];
  ssize_t got = read(flow->fd, bytes, sizeof bytes);
  if (got < 0 && errno == EAGAIN) return false;
  if (got > 0) flow->received += (uint32_t)got;
  if (got > 0) return false;
  if (got < 0 || flow->received != SHORT_BYTES) failed++;
  return true;
}

void connections(const char *host, uint16_t port, int at_once, int warm_up, int duration, long count) {
  if (at_once > MAX_AT_ONCE) at_once = MAX_AT_ONCE;
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  uint64_t from = now_ns() + (uint64_t)warm_up * 1000000;
  uint64_t until = count > 0 ? UINT64_MAX : from + (uint64_t)duration * 1000000;
  uint64_t begin = now_ns(), now = begin;
  long done = 0, begun = 0, all = 0;
  int open = 0;
  failed = 0;
  for (int i = 0; i < at_once; i++, open++, begun++) open_flow(epoll, &flows[i], host, port);
  while (open > 0) {
    struct epoll_event events[64];
    int ready = epoll_wait(epoll, events, 64, -1);
    for (int i = 0; i < ready; i++) {
      struct short_flow *flow = events[i].data.ptr;
      if (!advance(epoll, flow)) continue;
      close(flow->fd);
      open--;
      all++;
      now = now_ns();
      if (now >= from && now < until) done++;
      if (now >= until || (count > 0 && begun >= count)) continue;
      open_flow(epoll, flow, host, port);
      open++;
      begun++;
    }
  }
  close(epoll);
  double seconds = count > 0 ? (double)(now - begin) / 1e9 : duration / 1000.0;
  printf("{\"connections\":%ld,\"failed\":%lu,\"seconds\":%.3f}\n", count > 0 ? all : done, failed, seconds);
}

void idle(const char *host, uint16_t port, int wanted) {
  static int kept[MAX_IDLE];
  static int have;
  if (wanted > MAX_IDLE) wanted = MAX_IDLE;
  for (; have > wanted; have--) close(kept[have - 1]);
  for (; have < wanted; have++) {
    int fd = connect_to(host, port, SOCK_STREAM);
    char byte = 'x';
    write_all(fd, &byte, 1);
    read_all(fd, &byte, 1);
    kept[have] = fd;
  }
  printf("{\"open\":%d}\n", have);
}
