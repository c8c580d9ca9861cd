/*
 * The program's descriptors: those of whoever called mirrord, under their numbers, and no others.
 *
 * A shell's `3<file`, the jobserver of make, a socket of systemd's (sd_listen_fds(3)), the lock of flock(1): a program has
 * what its caller left open. Node takes 3 to 15 from what it starts, and opens /dev/null for a standard stream that is
 * closed. So mirrord hands them over in a row behind the control socket, and they get their numbers here. Once the
 * program runs nobody but the program has them, lest who reads from a pipe wait for the end of a copy.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "launcher.h"

/* As many as `descriptorLimit` in launcher.ts. */
#define MAX_DESCRIPTORS 256

static int placed[MAX_DESCRIPTORS];
static int placed_count;

/*
 * Gives the descriptors from `socket` + 1 on their numbers, those from 3 on in `list` ("0,1,2,9"), in that order. What is not
 * in it of 0, 1 and 2 the program finds closed. Returns the control socket's new number, which is none of theirs, or -1.
 */
int place_descriptors(int socket, const char *list) {
  int wanted[MAX_DESCRIPTORS], aside[MAX_DESCRIPTORS], count = 0, above = socket + 1, streams = 0;
  for (char *end; *list; list = *end ? end + 1 : end) {
    long number = strtol(list, &end, 10);
    if (end == list || number < 0 || count == MAX_DESCRIPTORS) return errno = EINVAL, -1;
    if (number < 3) streams |= 1 << number;
    else wanted[count++] = (int)number;
    if (number >= above) above = (int)number + 1;
  }
  if (above <= socket + count) above = socket + count + 1;
  int moved = fcntl(socket, F_DUPFD_CLOEXEC, above);
  for (int i = 0; i < count; i++)
    if ((aside[i] = fcntl(socket + 1 + i, F_DUPFD_CLOEXEC, above)) < 0) return -1;
  for (int i = 0; i <= count; i++) close(socket + i);
  for (int i = 0; i < count; i++) {
    if (dup2(aside[i], wanted[i]) < 0) return -1;
    close(aside[i]);
    placed[placed_count++] = wanted[i];
  }
  for (int i = 0; i < 3; i++)
    if (!(streams >> i & 1)) fcntl(i, F_SETFD, FD_CLOEXEC);
  return moved;
}

/* The program has its own. */
void close_descriptors(void) {
  while (placed_count > 0) close(placed[--placed_count]);
}
