/*
 * What must not be left on disk, whoever is killed: `leave-no PATH`, before PATH is made.
 *
 * Paths are removed when the guard ends, the last one first, so that a directory that was named before
 * its files can go too (one that isn't empty by then is somebody else's as well, and stays). Each is held
 * by its directory, not by its name: whatever the sandbox has mounted over that meanwhile, the same file
 * goes. If it was mounted over itself (a socket over its place-holder), that mount goes first.
 *
 * A place-holder is told by what was made (`leave_made`): another file that has its name by then is somebody's.
 *
 * `leave PATH` takes it back, for one that mirrord has removed itself: the name may be somebody else's now.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher.h"

/* Each holds a descriptor or two, of the 1,024 that a process has by default. */
#define LEAVINGS_MAX 512

static struct {
  char *path;
  const char *name; /* its last part */
  int directory;
  int made; /* what was made there, if it is known: held open, lest its inode number be given to another */
} leavings[LEAVINGS_MAX];
static size_t count;

/* Notes PATH, absolute, in a directory that is there. */
int leave_no(const char *path) {
  const char *slash = strrchr(path, '/');
  char directory[PATH_MAX];
  if (*path != '/' || !slash[1]) return errno = EINVAL, failed("leave-no");
  if (count == LEAVINGS_MAX) return errno = ENOSPC, failed("leave-no");
  if (snprintf(directory, sizeof directory, "%.*s", slash == path ? 1 : (int)(slash - path), path) >= PATH_MAX)
    return errno = ENAMETOOLONG, failed("leave-no");
  int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return failed("open directory");
  char *copy = strdup(path);
  if (!copy) {
    close(fd);
    return failed("strdup");
  }
  leavings[count].made = -1;
  leavings[count].path = copy;
  leavings[count].name = copy + (slash + 1 - path);
  leavings[count++].directory = fd;
  return 0;
}

static void release(size_t i) {
  close(leavings[i].directory);
  if (leavings[i].made >= 0) close(leavings[i].made);
  free(leavings[i].path);
}

/* Forgets PATH, if it was noted. */
int leave(const char *path) {
  for (size_t i = count; i-- > 0;) {
    if (strcmp(leavings[i].path, path)) continue;
    release(i);
    memmove(&leavings[i], &leavings[i + 1], (--count - i) * sizeof *leavings);
    return 0;
  }
  return 0;
}

/* Notes that the path named last is there now: nothing else is to be removed there. */
void leave_made(void) {
  if (count) leavings[count - 1].made = open(leavings[count - 1].path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

/* Whether somebody has replaced what was made, or written into it. What covers it in here must go first. */
static int is_others(size_t i) {
  struct stat status, made;
  char path[64 + NAME_MAX];
  if (leavings[i].made < 0 || fstat(leavings[i].made, &made) < 0) return 0;
  snprintf(path, sizeof path, "/proc/self/fd/%d/%s", leavings[i].directory, leavings[i].name);
  umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
  if (fstatat(leavings[i].directory, leavings[i].name, &status, AT_SYMLINK_NOFOLLOW) < 0) return 1;
  if (status.st_dev != made.st_dev || status.st_ino != made.st_ino) return 1;
  return S_ISREG(status.st_mode) && status.st_size > 0;
}

static void remove_one(int directory, const char *name) {
  if (unlinkat(directory, name, 0) == 0) return;
  if (errno == EBUSY) {
    char path[64 + NAME_MAX];
    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", directory, name);
    umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
    unlinkat(directory, name, 0);
  } else if (errno == EISDIR) {
    unlinkat(directory, name, AT_REMOVEDIR);
  }
}

void remove_leavings(void) {
  while (count > 0) {
    count--;
    if (!is_others(count)) remove_one(leavings[count].directory, leavings[count].name);
    release(count);
  }
}
