/*
 * Datagrams up one flow: as many as go, or at a rate, in steps of a millisecond. The server says how many came, and when.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

enum { SETTLE_MS = 300, ANSWER_MS = 200, QUESTIONS = 50 };

static void sleep_until(uint64_t ns) {
  struct timespec time = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR) continue;
}

/* Asks until there is an answer: questions may be lost, too. */
static struct udp_count ask(int fd, uint64_t session) {
  struct udp_head question = {.session = session, .is_question = 1};
  struct udp_count count;
  for (int i = 0; i < QUESTIONS; i++) {
    if (send(fd, &question, sizeof question, 0) < 0 && errno != ENOBUFS) die("udp question");
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    if (poll(&poll_fd, 1, ANSWER_MS) <= 0) continue;
    if (recv(fd, &count, sizeof count, 0) == (ssize_t)sizeof count && count.session == session) return count;
  }
  errno = ETIMEDOUT;
  die("udp answer");
  return count;
}

void udp(const char *host, uint16_t port, size_t size, long rate, int duration) {
  char datagram[2048] = {0};
  if (size < sizeof(struct udp_head)) size = sizeof(struct udp_head);
  if (size > sizeof datagram) size = sizeof datagram;
  int fd = connect_to(host, port, SOCK_DGRAM);
  uint64_t begin = now_ns();
  uint64_t until = begin + (uint64_t)duration * 1000000;
  struct udp_head head = {.session = begin};
  memcpy(datagram, &head, sizeof head);
  uint64_t sent = 0;
  for (uint64_t now = begin; now < until; now = now_ns()) {
    uint64_t due = rate == 0 ? sent + 64 : (uint64_t)((double)(now - begin) * (double)rate / 1e9);
    for (; sent < due; sent++)
      if (send(fd, datagram, size, 0) < 0 && errno != ENOBUFS) die("udp send");
    if (rate > 0) sleep_until(now + 1000000);
  }
  double seconds = (double)(now_ns() - begin) / 1e9;
  sleep_until(now_ns() + (uint64_t)SETTLE_MS * 1000000);
  struct udp_count count = ask(fd, head.session);
  close(fd);
  double received_seconds = (double)(count.last_ns - count.first_ns) / 1e9;
  printf("{\"sent\":%lu,\"received\":%lu,\"seconds\":%.3f,\"receivedSeconds\":%.3f}\n", sent, count.received, seconds,
         received_seconds);
}
