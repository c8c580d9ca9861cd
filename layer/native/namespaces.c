/*
 * Namespaces and capabilities.
 *
 * One level only: the process unshares its user namespace together with the others, so that whoever
 * owns the first (the user who started us) may enter all of them later. The caller's own uid and gid
 * are mapped to themselves: the program must see its own uid, not 0 (user_namespaces(7)).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launcher.h"

static int write_proc(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return failed(path);
  int bad = write(fd, text, strlen(text)) < 0;
  int result = bad ? failed(path) : 0;
  close(fd);
  return result;
}

static int map_own_ids(uid_t uid, gid_t gid) {
  char line[64];
  /* An unprivileged process may write gid_map only after giving up setgroups(2). */
  int result = write_proc("/proc/self/setgroups", "deny");
  if (result < 0) return result;
  snprintf(line, sizeof line, "%u %u 1", uid, uid);
  if ((result = write_proc("/proc/self/uid_map", line)) < 0) return result;
  snprintf(line, sizeof line, "%u %u 1", gid, gid);
  return write_proc("/proc/self/gid_map", line);
}

static int namespace_flag(const char *name) {
  static const struct { const char *name; int flag; } known[] = {
      {"user", CLONE_NEWUSER}, {"net", CLONE_NEWNET}, {"mnt", CLONE_NEWNS},
      {"uts", CLONE_NEWUTS},   {"ipc", CLONE_NEWIPC}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (!strcmp(name, known[i].name)) return known[i].flag;
  return 0;
}

int unshare_namespaces(char **names, int count) {
  int flags = 0;
  for (int i = 0; i < count; i++) {
    int flag = namespace_flag(names[i]);
    if (!flag) return errno = EINVAL, failed(names[i]);
    flags |= flag;
  }
  uid_t uid = geteuid();
  gid_t gid = getegid();
  if (unshare(flags) < 0) return failed("unshare");
  int result = flags & CLONE_NEWUSER ? map_own_ids(uid, gid) : 0;
  if (result < 0) return result;
  /* Nothing that is mounted in here may show outside. */
  if (flags & CLONE_NEWNS && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) return failed("mount /");
  return 0;
}

/* Enters one namespace of a process, unless we are in it: setns(2) into one's own user namespace is
 * an error. `held` was opened before any namespace changed. */
static int enter_one(int held, const char *own, int flag) {
  struct stat theirs, ours;
  if (fstat(held, &theirs) == 0 && stat(own, &ours) == 0 && theirs.st_ino == ours.st_ino) return 0;
  return setns(held, flag) < 0 ? failed(own) : 0;
}

int enter_namespaces(pid_t pid, int mount) {
  static const struct { const char *name; int flag; } order[] = {
      {"user", CLONE_NEWUSER}, {"net", CLONE_NEWNET}, {"uts", CLONE_NEWUTS}, {"mnt", CLONE_NEWNS}};
  int held[4];
  int count = mount ? 4 : 3;
  char path[64];
  for (int i = 0; i < count; i++) {
    snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, order[i].name);
    held[i] = open(path, O_RDONLY | O_CLOEXEC);
    if (held[i] < 0) return failed("open namespace");
  }
  for (int i = 0; i < count; i++) {
    snprintf(path, sizeof path, "/proc/self/ns/%s", order[i].name);
    int result = enter_one(held[i], path, order[i].flag);
    if (result < 0) return result;
    close(held[i]);
  }
  return 0;
}

/* What a container runtime leaves to root by default (OCI runtimes, "default capabilities"). */
static const int container_capabilities[] = {
    CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FSETID,  CAP_FOWNER,           CAP_MKNOD,      CAP_NET_RAW, CAP_SETGID,
    CAP_SETUID, CAP_SETFCAP,      CAP_SETPCAP, CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT, CAP_KILL,    CAP_AUDIT_WRITE};

static int is_kept(int capability, enum capabilities wanted) {
  if (wanted == CAPABILITIES_KEEP) return 1;
  for (size_t i = 0; i < sizeof container_capabilities / sizeof *container_capabilities; i++)
    if (container_capabilities[i] == capability) return 1;
  return 0;
}

/* Shapes what execve(2) will leave: the bounding set for uid 0, the ambient set for the others. With the
 * container's set an ordinary user keeps nothing (no inheritable, no ambient capability), yet programs
 * with file capabilities (ping) still start: below the bounding set they'd fail with EPERM. */
int set_capabilities(enum capabilities wanted) {
  if (wanted == CAPABILITIES_UNTOUCHED) return 0;
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) < 0) return failed("capget");
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  for (int i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
    if (!is_kept(i, wanted)) prctl(PR_CAPBSET_DROP, i, 0, 0, 0); /* EPERM: not ours to drop, nor to have */
  for (int word = 0; word < 2; word++) data[word].inheritable = wanted == CAPABILITIES_KEEP ? data[word].permitted : 0;
  if (syscall(SYS_capset, &header, data) < 0) return failed("capset");
  if (wanted == CAPABILITIES_KEEP)
    for (int i = 0; i < 64; i++)
      if (data[i / 32].permitted >> (i % 32) & 1) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0);
  return 0;
}

/* What the agent needs in its target's namespaces, where they are ours to enter: to redirect, and to capture. Without it
 * the target's traffic stays as it is, which the agent tells. */
void keep_network(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) < 0) return;
  /* Their numbers are in the first word. */
  data[0].inheritable |= data[0].permitted & (CAP_TO_MASK(CAP_NET_ADMIN) | CAP_TO_MASK(CAP_NET_RAW));
  if (syscall(SYS_capset, &header, data) < 0) return;
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0);
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0);
}
