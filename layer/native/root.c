/*
 * A root of the sandbox's own: a tmpfs, with this machine's directories and those of the FUSE mount bound into it.
 *
 * It is built below the stage (mounts.c), which covers /tmp until the root is entered (`pivot`).
 *
 *     STAGE/root    becomes the root
 *     STAGE/fuse    the FUSE mount, served by mirrord
 *     STAGE/empty   a directory that covers what is not to be found
 *     STAGE/covered what the stage covers
 *     STAGE/thaw    entries of a directory that is thawed
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launcher.h"

#define ROOT STAGE "/root"
#define FUSE STAGE "/fuse"
#define EMPTY STAGE "/empty"
#define COVERED STAGE "/covered"
#define THAW STAGE "/thaw"

/* "Linux include/uapi/linux/mount.h", which a C library may not have yet. */
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#endif
enum { TREE_CLONE = 1, FROM_FD = 0x4 };

int root_begin(void) {
  /* Taken before it is covered: a bind mount of the directory would bring the stage with it. */
  int covered = (int)syscall(SYS_open_tree, AT_FDCWD, STAGE, TREE_CLONE | O_CLOEXEC | AT_RECURSIVE);
  if (covered < 0) return failed("open_tree");
  int result = stage();
  if (!result && (mkdir(ROOT, 0755) < 0 || mkdir(FUSE, 0755) < 0 || mkdir(EMPTY, 0555) < 0 || mkdir(COVERED, 0755) < 0))
    result = failed("mkdir");
  if (!result && syscall(SYS_move_mount, covered, "", AT_FDCWD, COVERED, FROM_FD) < 0) result = failed("move_mount");
  close(covered);
  return result ? result : mount_tmpfs(ROOT, "mode=755");
}

/* The kernel refuses a FUSE device that was opened in another user namespace. Who may do what is decided by what
 * serves the files, so `default_permissions` is not set. */
int mount_fuse(struct answer *a) {
  char options[128];
  int fd = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return failed("open /dev/fuse");
  snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,allow_other", fd, geteuid(), getegid());
  if (mount("mirrord", FUSE, "fuse", MS_NOSUID | MS_NODEV, options) < 0) {
    int result = failed("mount fuse");
    close(fd);
    return result;
  }
  a->fd = fd;
  return 0;
}

/* Makes what something of the kind of `from` can be mounted over. */
static int make_place(const char *from, const char *to) {
  struct stat status;
  if (stat(from, &status) < 0) return failed("stat");
  if (S_ISDIR(status.st_mode)) return make_directories(to);
  if (mknod(to, S_IFREG | 0644, 0) < 0 && errno != EEXIST) return failed("mknod");
  return 0;
}

static int show(const char *from, const char *to) {
  int result = make_place(from, to);
  if (result) return result;
  return mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0 ? failed("mount --bind") : 0;
}

static int remove_link(const char *name) {
  char path[PATH_MAX];
  struct stat status;
  if (strchr(name, '/') || strlen(name) > NAME_MAX) return errno = EINVAL, failed("thaw");
  snprintf(path, sizeof path, THAW "/%s", name);
  if (lstat(path, &status) < 0 || !S_ISLNK(status.st_mode)) return 0;
  return unlink(path) < 0 ? failed("unlink") : 0;
}

/* Makes room in a directory of this machine's: a tmpfs with its entries bound into it. Nothing is made there by the
 * program, for it would be lost. Links of some names go: what comes in their place must not be mounted where they
 * lead. */
static int thaw(const char *from, const char *to, char **names, int count) {
  int directory = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return failed("open");
  mkdir(THAW, 0755);
  int result = mount_tmpfs(THAW, "mode=755");
  if (!result) {
    result = stage_thawed(directory, SIZE_MAX);
    for (int i = 0; !result && i < count; i++) result = remove_link(names[i]);
    if (!result && chmod(THAW, 0555) < 0) result = failed("chmod");
    if (!result && mount(THAW, to, NULL, MS_BIND | MS_REC, NULL) < 0) result = failed("mount --bind");
    umount2(THAW, MNT_DETACH);
  }
  close(directory);
  return result;
}

/* A path of this machine's, and where it is in the new root. */
static int name_places(const char *path, char *from, char *to) {
  if (*path != '/' || strlen(path) > PATH_MAX - 64) return errno = EINVAL, failed("show");
  snprintf(to, PATH_MAX, ROOT "%s", path);
  if (!strcmp(path, STAGE) || !strncmp(path, STAGE "/", sizeof STAGE))
    snprintf(from, PATH_MAX, COVERED "%s", path + sizeof STAGE - 1);
  else snprintf(from, PATH_MAX, "%s", path);
  return 0;
}

int root_thaw(const char *path, char **names, int count) {
  char from[PATH_MAX], to[PATH_MAX];
  int result = name_places(path, from, to);
  return result ? result : thaw(from, to, names, count);
}

/* Shows a path in the new root: this machine's (`host`), mirrord's (`fuse`), or an empty directory (`empty`). */
int root_show(const char *what, const char *path) {
  char from[PATH_MAX], to[PATH_MAX];
  int result = name_places(path, from, to);
  if (result) return result;
  if (!strcmp(what, "empty")) return mount(EMPTY, to, NULL, MS_BIND, NULL) < 0 ? failed("mount --bind") : 0;
  if (!strcmp(what, "fuse")) snprintf(from, sizeof from, FUSE "%s", path);
  else if (strcmp(what, "host")) return errno = EINVAL, failed("show");
  return show(from, to);
}

int root_link(const char *path, const char *target) {
  char to[PATH_MAX];
  snprintf(to, sizeof to, ROOT "%.*s", PATH_MAX - 64, path);
  return symlink(target, to) < 0 ? failed("symlink") : 0;
}

/* Nothing more is made in it: what it had no place for was not there. */
int root_enter(void) { return chmod(ROOT, 0555) < 0 ? failed("chmod") : pivot(ROOT); }
