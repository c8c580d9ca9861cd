/*
 * Throughput. All flows run in one thread, like the server's end of them. The receiver counts what arrives within
 * the time that both ends know; then the sender has stopped, and what is still under way is read but not counted,
 * so that no flow ends by a reset.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { MAX_FLOWS = 1024, EVENTS = 64 };

struct flow {
  int fd;
  bool is_over; /* our end has sent all */
  struct bulk_count count;
};

static struct flow flows[MAX_FLOWS];

static void watch(int epoll, struct flow *flow, uint32_t events, int operation) {
  struct epoll_event event = {.events = events, .data.ptr = flow};
  if (epoll_ctl(epoll, operation, flow->fd, &event) < 0) die("epoll_ctl");
}

/* Sends once; at the end of the time waits for the server's count. */
static void on_writable(int epoll, struct flow *flow, uint64_t until) {
  if (now_ns() < until) {
    if (write(flow->fd, block, BLOCK) < 0 && errno != EAGAIN) die("bulk write");
    return;
  }
  flow->is_over = true;
  shutdown(flow->fd, SHUT_WR);
  watch(epoll, flow, EPOLLIN, EPOLL_CTL_MOD);
}

/* Returns whether the flow has ended. */
static bool on_readable(struct flow *flow, const struct bulk_head *head) {
  ssize_t got = read(flow->fd, block, BLOCK);
  if (got < 0 && errno == EAGAIN) return false;
  if (got < 0) die("bulk read");
  if (got == 0) return true;
  uint64_t now = now_ns();
  if (now >= head->from_ns && now < head->until_ns) flow->count.counted += (uint64_t)got;
  flow->count.all += (uint64_t)got;
  return false;
}

/* The server's count of an upload; small, so it comes in one piece or soon. Returns true: the flow has ended. */
static bool take_count(struct flow *flow) {
  int fd = flow->fd;
  struct epoll_event event;
  size_t have = 0;
  int waiting = epoll_create1(EPOLL_CLOEXEC);
  watch(waiting, flow, EPOLLIN, EPOLL_CTL_ADD);
  while (have < sizeof flow->count) {
    ssize_t got = read(fd, (char *)&flow->count + have, sizeof flow->count - have);
    if (got > 0) have += (size_t)got;
    else if (got < 0 && errno == EAGAIN) epoll_wait(waiting, &event, 1, -1);
    else die("bulk count");
  }
  close(waiting);
  return true;
}

struct bulk_result run_bulk(const char *host, uint16_t port, bool is_up, int count, int warm_up, int duration) {
  if (count > MAX_FLOWS) count = MAX_FLOWS;
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 0; i < count; i++) flows[i] = (struct flow){.fd = connect_to(host, port, SOCK_STREAM)};
  uint64_t begin = now_ns();
  struct bulk_head head = {.from_ns = begin + (uint64_t)warm_up * 1000000, .is_up = is_up};
  head.until_ns = head.from_ns + (uint64_t)duration * 1000000;
  for (int i = 0; i < count; i++) {
    write_all(flows[i].fd, &head, sizeof head);
    unblock(flows[i].fd);
    watch(epoll, &flows[i], is_up ? EPOLLOUT : EPOLLIN, EPOLL_CTL_ADD);
  }
  for (int open = count; open > 0;) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < ready; i++) {
      struct flow *flow = events[i].data.ptr;
      bool is_done = false;
      if (!is_up) is_done = on_readable(flow, &head);
      else if (flow->is_over) is_done = take_count(flow);
      else on_writable(epoll, flow, head.until_ns);
      if (!is_done) continue;
      close(flow->fd);
      open--;
    }
  }
  close(epoll);
  struct bulk_result result = {.least = UINT64_MAX};
  for (int i = 0; i < count; i++) {
    result.sum.counted += flows[i].count.counted;
    result.sum.all += flows[i].count.all;
    if (flows[i].count.counted < result.least) result.least = flows[i].count.counted;
  }
  return result;
}

void bulk(const char *host, uint16_t port, bool is_up, int count, int warm_up, int duration) {
  struct bulk_result result = run_bulk(host, port, is_up, count, warm_up, duration);
  printf("{\"bytes\":%lu,\"allBytes\":%lu,\"leastBytes\":%lu,\"seconds\":%.3f}\n", result.sum.counted, result.sum.all,
         result.least, duration / 1000.0);
}
