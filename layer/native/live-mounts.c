/*
 * Mounts that appear while the program runs. Files for a bind mount need a file system to live on, and
 * the stage (mounts.c) covers a directory that the program may be using. So they are made by a child in
 * a copy of the mount namespace, where the stage is nobody's business; it takes what it made as a detached
 * mount (open_tree(2)), comes back, and attaches it in one step (move_mount(2)). Linux 5.2.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher.h"

/* "Linux include/uapi/linux/mount.h", which a C library may not have yet. */
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#endif
enum { TREE_CLONE = 1, FROM_FD = 0x4, TO_FD = 0x40 };

/* More entries of a directory than this are not mirrored: each is a mount. */
#define MIRROR_MAX 512

/* Puts something onto the stage, under the name that it is shown by. */
struct exhibit {
  int (*make)(const struct exhibit *exhibit);
  const char *made;
  int socket;
  const char *directory; /* what is mirrored */
  mode_t mode;
};

static int stage_socket(const struct exhibit *e) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int result = stage();
  if (result) return result;
  strcpy(address.sun_path, e->made);
  if (bind(e->socket, (struct sockaddr *)&address, sizeof address) < 0) return failed("bind");
  return chmod(e->made, 0777) < 0 ? failed("chmod") : 0;
}

static int stage_mirror(const struct exhibit *e) {
  /* Opened in this namespace, and before the stage may cover it. */
  int from = open(e->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (from < 0 && errno != EACCES) return failed("open");
  int result = stage();
  if (!result && from >= 0) result = stage_thawed(from, MIRROR_MAX);
  else if (!result && mkdir(e->made, 0755) < 0) result = failed("mkdir");
  /* The real one can't be written to; what is written here would be lost in silence. */
  if (!result && chmod(e->made, e->mode & ~0222u) < 0) result = failed("chmod");
  return result;
}

static int show_from_copy(int place, const struct exhibit *e) {
  int home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  if (home < 0) return failed("open namespace");
  if (unshare(CLONE_NEWNS) < 0) return failed("unshare");
  int result = e->make(e);
  if (result) return result;
  int tree = (int)syscall(SYS_open_tree, AT_FDCWD, e->made, TREE_CLONE | O_CLOEXEC | AT_RECURSIVE);
  if (tree < 0) return failed("open_tree");
  if (setns(home, CLONE_NEWNS) < 0) return failed("setns");
  return syscall(SYS_move_mount, tree, "", place, "", FROM_FD | TO_FD) < 0 ? failed("move_mount") : 0;
}

/* Shows an exhibit at `place`, by a child: its errno comes as its status, the name of the call by a pipe. */
static int show(int place, const struct exhibit *e) {
  static char call[64];
  int report[2], status;
  if (pipe2(report, O_CLOEXEC) < 0) return failed("pipe");
  pid_t pid = fork();
  if (!pid) {
    int result = show_from_copy(place, e);
    (void)!write(report[1], failed_call, strlen(failed_call));
    _exit(-result);
  }
  close(report[1]);
  ssize_t n = pid < 0 ? 0 : read(report[0], call, sizeof call - 1);
  close(report[0]);
  if (pid < 0) return failed("fork");
  call[n > 0 ? n : 0] = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
  errno = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
  return failed(call);
}

int show_socket(int place, int socket) {
  return show(place, &(struct exhibit){.make = stage_socket, .made = STAGE "/socket", .socket = socket});
}

int show_mirror(const char *directory) {
  struct stat status;
  int place = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (place < 0) return failed("open");
  int result = fstat(place, &status) < 0 ? failed("fstat") : 0;
  struct exhibit e = {.make = stage_mirror, .made = STAGE "/thaw", .directory = directory, .mode = status.st_mode & 07777};
  if (!result) result = show(place, &e);
  close(place);
  return result;
}
