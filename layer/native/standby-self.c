/*
 * What the process that stands by (standby.c) does to itself first: it gives back the memory that it was cloned with, so that it costs
 * that process nothing (V8 would copy each page that it writes), and takes a name of its own.
 *
 * All goes that is private and anonymous, but for its stack, its thread's area and the data of libraries. Nothing here, nor in what
 * it does later, may call a function that is not bound yet (-z now), or that takes a lock, which another thread may have held.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "standby.h"

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

void forget_memory(void) {
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
void take_name(const char *name) {
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
