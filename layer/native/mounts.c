/*
 * Mounts of a sandbox. Nothing is written to the file system outside: small files live on a tmpfs
 * that is mounted over STAGE for as long as it takes to bind them to their place, then detached; the
 * bind mounts keep it alive (mount_namespaces(7)).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launcher.h"

int stage(void) {
  return mount("mirrord", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") < 0 ? failed("mount tmpfs") : 0;
}

static void unstage(void) { umount2(STAGE, MNT_DETACH); }

void name_of(int fd, char *name, size_t size) { snprintf(name, size, "/proc/self/fd/%d", fd); }

int write_file(const char *path, const char *content, size_t length, mode_t mode) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (fd < 0) return failed("open");
  size_t done = 0;
  while (done < length) {
    ssize_t n = write(fd, content + done, length - done);
    if (n < 0) {
      close(fd);
      return failed("write");
    }
    done += (size_t)n;
  }
  fchmod(fd, mode);
  close(fd);
  return 0;
}

int mount_file(const char *path, const char *content, size_t length) {
  char place[64];
  int at = open(path, O_PATH | O_CLOEXEC); /* follows links: the file itself is covered */
  if (at < 0) return failed("open");
  int result = stage();
  if (!result) {
    result = write_file(STAGE "/file", content, length, 0644);
    name_of(at, place, sizeof place);
    if (!result && mount(STAGE "/file", place, NULL, MS_BIND, NULL) < 0) result = failed("mount --bind");
    unstage();
  }
  close(at);
  return result;
}

/* Recreates one entry of a directory on the tmpfs: links as they are, the rest as bind mounts. */
static int thaw_entry(int from, const char *name) {
  struct stat status;
  char source[64 + NAME_MAX], target[PATH_MAX], link[PATH_MAX];
  if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return 0; /* gone meanwhile */
  snprintf(target, sizeof target, STAGE "/thaw/%s", name);
  if (S_ISLNK(status.st_mode)) {
    ssize_t n = readlinkat(from, name, link, sizeof link - 1);
    if (n < 0) return 0;
    link[n] = 0;
    return symlink(link, target) < 0 ? failed("symlink") : 0;
  }
  int bad = S_ISDIR(status.st_mode) ? mkdir(target, 0755) : mknod(target, S_IFREG | 0644, 0);
  if (bad < 0) return failed("mknod");
  snprintf(source, sizeof source, "/proc/self/fd/%d/%s", from, name);
  return mount(source, target, NULL, MS_BIND | MS_REC, NULL) < 0 ? failed("mount --bind") : 0;
}

int stage_thawed(int from, size_t limit) {
  int result = 0;
  size_t count = 0;
  mkdir(STAGE "/thaw", 0755);
  DIR *entries = fdopendir(dup(from));
  for (struct dirent *e; !result && entries && (e = readdir(entries));) {
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
    result = count++ < limit ? thaw_entry(from, e->d_name) : (errno = E2BIG, failed("mirror"));
  }
  if (entries) closedir(entries);
  return result;
}

int mount_thawed(const char *directory) {
  char place[64];
  int from = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (from < 0) return failed("open");
  int result = stage();
  if (result) return close(from), result;
  result = stage_thawed(from, SIZE_MAX);
  name_of(from, place, sizeof place);
  if (!result && mount(STAGE "/thaw", place, NULL, MS_BIND | MS_REC, NULL) < 0) result = failed("mount --bind");
  unstage();
  close(from);
  return result;
}

int mount_bind(const char *from, const char *to, const char *option) {
  if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0) return failed("mount --bind");
  /* A bind mount takes MS_RDONLY only in a second step; locked flags must be kept (EPERM otherwise). */
  if (!strcmp(option, "ro") && mount(NULL, to, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0 &&
      mount(NULL, to, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0 &&
      mount(NULL, to, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_RELATIME, NULL) < 0)
    return failed("mount -o remount,ro");
  return 0;
}

int mount_tmpfs(const char *path, const char *options) {
  return mount("mirrord", path, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0 ? failed("mount tmpfs") : 0;
}

/* /sys shows the network of the namespace that mounted it: covers its two network directories with
 * those of a fresh sysfs. The links of the first lead into the second. */
int mount_network_sysfs(void) {
  static const char *const directories[] = {"/class/net", "/devices/virtual/net"};
  char from[64], to[64];
  int result = 0;
  if (mount("sysfs", STAGE, "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
    return failed("mount sysfs");
  for (int i = 0; i < 2 && !result; i++) {
    snprintf(from, sizeof from, STAGE "%s", directories[i]);
    snprintf(to, sizeof to, "/sys%s", directories[i]);
    if (mount(from, to, NULL, MS_BIND, NULL) < 0) result = failed("mount --bind");
  }
  unstage();
  return result;
}

int make_directories(const char *path) {
  char part[PATH_MAX];
  size_t length = strlen(path);
  if (length >= sizeof part) return errno = ENAMETOOLONG, failed("mkdir");
  for (size_t i = 1; i <= length; i++) {
    if (path[i] != '/' && path[i] != 0) continue;
    memcpy(part, path, i);
    part[i] = 0;
    if (mkdir(part, 0755) < 0 && errno != EEXIST) return failed("mkdir");
  }
  return 0;
}

/* pivot_root(2), "pivot_root(".", ".")": no directory for the old root is needed. */
int pivot(const char *root) {
  if (chdir(root) < 0) return failed("chdir");
  if (syscall(SYS_pivot_root, ".", ".") < 0) return failed("pivot_root");
  if (umount2(".", MNT_DETACH) < 0) return failed("umount");
  return chdir("/") < 0 ? failed("chdir") : 0;
}
