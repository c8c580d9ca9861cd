/*
 * Moves this thread to the processor that another thread was on last.
 *
 * Theory of operation. The kernel moves a running thread at once when it may no longer be where it is (sched_setaffinity(2)); then it
 * may be anywhere again that it might before, and stays until the kernel finds a better place. Where the other one is, proc(5) tells.
 */
#define _GNU_SOURCE
#include "nearness.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "napi-arguments.h"

/* Of /proc/TID/stat, whose second field is a name in brackets, with anything in it. */
enum { PROCESSOR_FIELD = 39 };

/* The processor that a thread is on, or was when it fell asleep; negative: an errno. */
static int processor_of(int32_t thread) {
  char path[32], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", thread);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  ssize_t n = read(fd, text, sizeof text - 1);
  int failure = n < 0 ? -errno : -EINVAL;
  close(fd);
  if (n <= 0) return failure;
  text[n] = 0;
  char *at = strrchr(text, ')');
  for (int field = 2; at && field < PROCESSOR_FIELD; field++) at = strchr(at + 1, ' ');
  return at ? atoi(at + 1) : failure;
}

napi_value go_near(napi_env env, napi_callback_info info) {
  napi_value args[1];
  cpu_set_t all, one;
  arguments(env, info, args, 1);
  int processor = processor_of(int_argument(env, args[0]));
  if (processor < 0) return number(env, processor);
  if (processor == sched_getcpu()) return number(env, 0);
  if (sched_getaffinity(0, sizeof all, &all) < 0) return number(env, -errno);
  if (processor >= CPU_SETSIZE || !CPU_ISSET(processor, &all)) return number(env, -EINVAL);
  CPU_ZERO(&one);
  CPU_SET(processor, &one);
  if (sched_setaffinity(0, sizeof one, &one) < 0 || sched_setaffinity(0, sizeof all, &all) < 0)
    return number(env, -errno);
  return number(env, 1);
}
