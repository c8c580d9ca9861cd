/*
 * Round trips of one byte, one after the other over one connection.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"

enum { MAX_SAMPLES = 4 * 1024 * 1024 };

static uint32_t *samples; /* ns */
static size_t count;

static int compare(const void *one, const void *other) {
  uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
  return (a > b) - (a < b);
}

static double quantile_us(double share) {
  if (count == 0) return 0;
  size_t at = (size_t)(share * (double)count);
  return samples[at < count ? at : count - 1] / 1000.0;
}

static void measure(const char *host, uint16_t port, int warm_up, int duration) {
  if (samples == NULL) samples = malloc(MAX_SAMPLES * sizeof *samples);
  if (samples == NULL) die("malloc");
  count = 0;
  int fd = connect_to(host, port, SOCK_STREAM);
  no_delay(fd);
  uint64_t from = now_ns() + (uint64_t)warm_up * 1000000;
  uint64_t until = from + (uint64_t)duration * 1000000;
  char byte = 'x';
  for (uint64_t sent = now_ns(); sent < until && count < MAX_SAMPLES;) {
    write_all(fd, &byte, 1);
    read_all(fd, &byte, 1);
    uint64_t now = now_ns();
    /* By its end, so that one counts, too, that took longer than the warm-up. */
    if (now >= from) samples[count++] = now - sent < UINT32_MAX ? (uint32_t)(now - sent) : UINT32_MAX;
    sent = now;
  }
  close(fd);
  qsort(samples, count, sizeof *samples, compare);
}

static void print_quantiles(void) {
  printf("\"trips\":%zu,\"medianUs\":%.1f,\"p99Us\":%.1f,\"maxUs\":%.1f", count, quantile_us(0.5), quantile_us(0.99),
         quantile_us(1));
}

void rtt(const char *host, uint16_t port, int warm_up, int duration) {
  measure(host, port, warm_up, duration);
  printf("{");
  print_quantiles();
  printf("}\n");
}

void loaded_rtt(const char *host, uint16_t bulk_port, uint16_t echo_port, bool is_up, int flows, int warm_up,
                int duration) {
  int pipes[2];
  if (pipe(pipes) < 0) die("pipe");
  pid_t child = fork();
  if (child < 0) die("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct bulk_result result = run_bulk(host, bulk_port, is_up, flows, warm_up, duration);
    write_all(pipes[1], &result, sizeof result);
    _exit(0);
  }
  close(pipes[1]);
  measure(host, echo_port, warm_up, duration);
  struct bulk_result result;
  read_all(pipes[0], &result, sizeof result);
  close(pipes[0]);
  waitpid(child, NULL, 0);
  printf("{");
  print_quantiles();
  printf(",\"bytes\":%lu,\"seconds\":%.3f}\n", result.sum.counted, duration / 1000.0);
}
