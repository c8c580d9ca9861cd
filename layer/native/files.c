/*
 * launcher files pid PID | root: serves the file system of a container, or this machine's, by a socket.
 *
 * Theory of operation. Requests come on FILES_FD, one after the other; each has one answer, in the same order
 * but for what may be done later (tunnel/files.ts tells what they look like). The agent runs one of these for each client that looks at files,
 * and mirrord one for what is this machine's. It is C because Node can't do half of what a mount needs (names
 * that are no UTF-8, statx's times, extended attributes, renameat2, holes), nor any of it by descriptor.
 *
 * Paths are resolved by the kernel below the root, which is held open: openat2(2) with RESOLVE_IN_ROOT. `..`,
 * absolute links and links that are swapped while we look stay inside, and so-called magic links of a proc(5) are
 * refused. Whatever is done then is done to what was opened (O_PATH), or to a name in a directory that was opened,
 * without following links again.
 *
 * Only regular files and directories are opened: to open a device or a fifo of the target is to do something to it.
 *
 * What nobody waits for yet (LATER: what is around a piece, a directory that may be wanted) is done when nothing else has come for
 * LATER_NS, or after OTHERS_MAX other requests, so that it delays neither what is asked next nor, being long, the answer before it.
 * One such request is kept; when the next comes, it is done. It is done before any CLOSE, which may give the number of its
 * handle away.
 *
 * Root in a container's place takes the container's user and groups first, if it may, so that a file that the
 * program may not read in the pod can't be read from here either.
 *
 * Limits: a request of REQUEST_MAX bytes, an answer of ANSWER_MAX, HANDLES_MAX open files. A request that makes no
 * sense is answered by EINVAL, one whose path is too long by ENAMETOOLONG; one that is too long ends us. Whoever doesn't read the answers makes us wait.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/limits.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "launcher.h"

#define FILES_FD 3
#define VERSION 5
#define DATA_MAX (1024 * 1024)
#define REQUEST_MAX (DATA_MAX + 16 * 1024)
#define ANSWER_MAX DATA_MAX
/* What may come with an answer to OPEN. */
#define CONTENT_MAX (128 * 1024)
#define HANDLES_MAX 4096
#define LATER_NS 200000
#define OTHERS_MAX 8
/* A lookup that races with a rename is tried again (openat2(2), EAGAIN). */
#define TRIES 64

/* "Linux include/uapi/linux/openat2.h", which a C library may not have yet. */
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
enum { NO_XDEV = 0x01, IN_ROOT = 0x10 };
/* RWF_APPEND of "Linux include/uapi/linux/fs.h". */
enum { IN_APPEND = 0x10 };
struct how {
  uint64_t flags, mode, resolve;
};

enum operation {
  HELLO = 1, STAT, READLINK, OPEN, CREATE, READ, WRITE, CLOSE, FSYNC, OPENDIR, READDIR, MKDIR, UNLINK, RMDIR, RENAME,
  SYMLINK, LINK, SETATTR, STATFS, ACCESS, GETXATTR, LISTXATTR, SETXATTR, REMOVEXATTR, FALLOCATE, LSEEK, MKNOD,
  APPEND, WRITEALL, APPENDALL, TMPFILE, NAME, WRITEMANY
};
/* Of an operation's number: it may be done later. */
enum { LATER = 0x80 };
/* What SETATTR changes, as FUSE's FATTR_*. */
enum { SET_MODE = 1, SET_UID = 2, SET_GID = 4, SET_SIZE = 8, SET_ATIME = 16, SET_MTIME = 32, NOW_ATIME = 128, NOW_MTIME = 256 };
#define ATTRIBUTES 88

static int root = -1;
static dev_t root_device;
static struct handle {
  int fd; /* -1: free */
  DIR *directory;
  long place; /* the cookie of the entry that was given last, 0 at the start */
  struct dirent *next; /* what was read after it, but found no room */
} handles[HANDLES_MAX];

/* A request being read; `bad`: what is wrong with it, as errno. */
static const uint8_t *at, *end;
static int bad;
/* The answer's payload. */
static uint8_t answer[12 + ANSWER_MAX];
static size_t length;

static uint64_t take(size_t size) {
  uint64_t value = 0;
  if ((size_t)(end - at) < size) return bad = EINVAL, 0;
  memcpy(&value, at, size);
  at += size;
  return le64toh(value);
}

/* A string after its length, with an end of our own; NULL with the request bad. */
static const char *take_string(char *room, size_t size) {
  size_t n = take(2);
  if (bad || (size_t)(end - at) < n || memchr(at, 0, n)) return bad = EINVAL, NULL;
  if (n >= size) return bad = ENAMETOOLONG, NULL;
  memcpy(room, at, n);
  room[n] = 0;
  at += n;
  return room;
}

static void put(uint64_t value, size_t size) {
  value = htole64(value);
  memcpy(answer + 12 + length, &value, size);
  length += size;
}

/* A path below the root. Flags as for open(2). */
static int resolve(const char *path, uint64_t flags) {
  while (*path == '/') path++;
  struct how how = {.flags = flags | O_CLOEXEC, .resolve = IN_ROOT};
  int fd = -1;
  for (int i = 0; i < TRIES; i++) {
    fd = (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
    if (fd >= 0 || errno != EAGAIN) break;
  }
  return fd;
}

/* The directory of a path, and the name in it. */
static int resolve_parent(char *path, const char **name) {
  char *slash = strrchr(path, '/');
  *name = slash ? slash + 1 : path;
  if (!**name || !strcmp(*name, ".") || !strcmp(*name, "..")) return errno = **name ? EINVAL : EEXIST, -1;
  if (slash) *slash = 0;
  return resolve(slash ? path : "", O_PATH | O_DIRECTORY);
}

static int resolve_entry(const char *path, int follows) { return resolve(path, O_PATH | (follows ? 0 : O_NOFOLLOW)); }

static struct handle *handle_of(uint32_t number, int wants_directory) {
  if (number >= HANDLES_MAX || handles[number].fd < 0 || (wants_directory && !handles[number].directory))
    return errno = EBADF, NULL;
  return &handles[number];
}

/* Notes an open file. Closes it when there is no room. */
static int keep(int fd, DIR *directory) {
  for (int i = 0; i < HANDLES_MAX; i++)
    if (handles[i].fd < 0) return handles[i] = (struct handle){fd, directory, 0, NULL}, i;
  if (directory) closedir(directory);
  else close(fd);
  return errno = EMFILE, -1;
}

/* There is one device at the other end, but several here: without a difference, two directories could be taken
 * for the same one, and a search would see a loop. */
static uint64_t inode_of(const struct stat *s) {
  if (s->st_dev == root_device) return s->st_ino;
  return s->st_ino ^ ((s->st_dev * 0x9e3779b97f4a7c15u) & 0x7fffffff00000000u);
}

/* As struct fuse_attr of "Linux include/uapi/linux/fuse.h". */
static void put_status(const struct stat *s) {
  unsigned minor_number = minor(s->st_rdev);
  put(inode_of(s), 8), put((uint64_t)s->st_size, 8), put((uint64_t)s->st_blocks, 8);
  put((uint64_t)s->st_atim.tv_sec, 8), put((uint64_t)s->st_mtim.tv_sec, 8), put((uint64_t)s->st_ctim.tv_sec, 8);
  put((uint64_t)s->st_atim.tv_nsec, 4), put((uint64_t)s->st_mtim.tv_nsec, 4), put((uint64_t)s->st_ctim.tv_nsec, 4);
  put(s->st_mode, 4), put(s->st_nlink, 4), put(s->st_uid, 4), put(s->st_gid, 4);
  put((minor_number & 0xff) | major(s->st_rdev) << 8 | (minor_number & ~0xffu) << 12, 4);
  put((uint64_t)s->st_blksize, 4), put(0, 4);
}

static int put_attributes(int fd) {
  struct stat status;
  if (fstat(fd, &status) < 0) return -1;
  put_status(&status);
  return 0;
}

static int put_attributes_at(int directory, const char *name) {
  struct stat status;
  if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0) return -1;
  put_status(&status);
  return 0;
}

static int close_with(int fd, int result) {
  int saved = errno;
  if (fd >= 0) close(fd);
  errno = saved;
  return result;
}

/* Requests. Each returns 0, or -1 with errno. */

static int say_hello(void) {
  put(VERSION, 4), put(geteuid(), 4), put(getegid(), 4);
  return 0;
}

/* Tells a name that is not there from one whose directory is not: ESTALE. */
static int not_there(char *path) {
  const char *name;
  int parent = resolve_parent(path, &name);
  int result = parent >= 0 || (errno != ENOENT && errno != ENOTDIR) ? ENOENT : ESTALE;
  if (parent >= 0) close(parent);
  return errno = result, -1;
}

static int file_status(void) {
  char path[PATH_MAX];
  int kind = (int)take(1); /* 0: a path, 1: a path whose links are followed, 2: a handle, 3: a name in a directory */
  if (kind == 2) {
    struct handle *h = handle_of((uint32_t)take(4), 0);
    return h ? put_attributes(h->fd) : -1;
  }
  if (!take_string(path, sizeof path)) return 0;
  int fd = resolve_entry(path, kind == 1);
  if (fd < 0 && kind == 3 && (errno == ENOENT || errno == ENOTDIR)) return not_there(path);
  return fd < 0 ? -1 : close_with(fd, put_attributes(fd));
}

static int read_link(void) {
  char path[PATH_MAX];
  if (!take_string(path, sizeof path)) return 0;
  int fd = resolve_entry(path, 0);
  ssize_t n = fd < 0 ? -1 : readlinkat(fd, "", (char *)answer + 12, PATH_MAX);
  /* By an empty path, what is no link is ENOENT (readlinkat(2)). */
  if (fd >= 0 && n < 0 && errno == ENOENT) errno = EINVAL;
  if (n >= 0) length = (size_t)n;
  return close_with(fd, n < 0 ? -1 : 0);
}

static int put_opened(int fd) {
  int number = keep(fd, NULL);
  if (number < 0) return -1;
  put((uint64_t)number, 4);
  return put_attributes(fd);
}

/* All of a file that has no more than so many bytes, after its attributes: whoever opens it mostly wants it. What has a
 * size of 0 may be made by reading it, so that is left to who asks. Nobody has read it yet, so its time stays as it is,
 * if the file is ours. */
static void put_content(int fd, off_t size, size_t most) {
  if (most > CONTENT_MAX) most = CONTENT_MAX;
  if (size <= 0 || (uint64_t)size > most) return;
  int flags = fcntl(fd, F_GETFL), quietly = flags >= 0 && fcntl(fd, F_SETFL, flags | O_NOATIME) == 0;
  ssize_t n = pread(fd, answer + 12 + length, (size_t)size, 0);
  if (quietly) fcntl(fd, F_SETFL, flags);
  if (n > 0) length += (size_t)n;
}

/* What a handle may be opened with, besides the access. Not O_APPEND: what was written through a mapping is written by
 * any handle of the file, and has its place. */
#define NO_FOLLOW (1 << 30) /* a bit of our own: O_NOFOLLOW is another one on every architecture */
#define BY_HANDLE (1 << 29) /* likewise: what is open is opened again, whatever has its name by now */
#define OPEN_FLAGS (O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC)

static int open_file(void) {
  char path[PATH_MAX], name[32];
  struct stat status;
  int flags = (int)take(4), follows = !(flags & NO_FOLLOW), again = flags & BY_HANDLE;
  flags &= OPEN_FLAGS;
  struct handle *h = again ? handle_of((uint32_t)take(4), 0) : NULL;
  if (again ? !h : !take_string(path, sizeof path)) return -1;
  size_t content = at < end ? take(4) : 0;
  if (bad) return -1;
  int entry = again ? fcntl(h->fd, F_DUPFD_CLOEXEC, 0) : resolve_entry(path, follows);
  if (entry < 0) return -1;
  if (fstat(entry, &status) < 0) return close_with(entry, -1);
  if (S_ISLNK(status.st_mode)) return close(entry), errno = ESTALE, -1;
  if (!S_ISREG(status.st_mode)) return close(entry), errno = S_ISDIR(status.st_mode) ? EISDIR : ENXIO, -1;
  name_of(entry, name, sizeof name);
  int fd = open(name, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  close_with(entry, 0);
  if (fd < 0 || put_opened(fd) < 0) return -1;
  if (content) put_content(fd, status.st_size, content);
  return 0;
}

static int create_file(void) {
  char path[PATH_MAX];
  const char *name;
  struct stat status;
  int flags = (int)take(4) & (OPEN_FLAGS | O_EXCL);
  mode_t mode = (mode_t)take(4) & 07777;
  if (!take_string(path, sizeof path)) return 0;
  int parent = resolve_parent(path, &name);
  if (parent < 0) return -1;
  int fd = openat(parent, name, flags | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode);
  close_with(parent, 0);
  /* A link that has just been made there: the caller is to look again. */
  if (fd < 0) return errno == ELOOP ? (errno = ESTALE, -1) : -1;
  if (fstat(fd, &status) < 0) return close_with(fd, -1);
  if (!S_ISREG(status.st_mode)) return close(fd), errno = ENXIO, -1;
  return put_opened(fd);
}

/* Not every file system can: EOPNOTSUPP. */
static int create_nameless(void) {
  char path[PATH_MAX];
  int flags = (int)take(4) & (OPEN_FLAGS | O_EXCL);
  mode_t mode = (mode_t)take(4) & 07777;
  if (!take_string(path, sizeof path)) return 0;
  int directory = resolve(path, O_PATH | O_DIRECTORY);
  if (directory < 0) return -1;
  int fd = openat(directory, ".", flags | O_TMPFILE | O_CLOEXEC, mode);
  close_with(directory, 0);
  return fd < 0 ? -1 : put_opened(fd);
}

static int read_file(void) {
  struct handle *h = handle_of((uint32_t)take(4), 0);
  off_t offset = (off_t)take(8);
  size_t wanted = take(4);
  if (bad || !h) return -1;
  if (wanted > DATA_MAX) wanted = DATA_MAX;
  /* Files that are made while they are read give less than is there. */
  while (length < wanted) {
    ssize_t n = pread(h->fd, answer + 12 + length, wanted - length, offset + (off_t)length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && !length) return -1;
    if (n <= 0) break;
    length += (size_t)n;
  }
  return 0;
}

/* One write at the end, wherever that is by now: by a flag of the call (Linux 4.16), or of the file. */
static ssize_t append(int fd, const void *bytes, size_t count) {
  struct iovec piece = {(void *)bytes, count};
  ssize_t n = syscall(SYS_pwritev2, fd, &piece, 1, 0L, 0L, IN_APPEND);
  if (n >= 0 || (errno != ENOSYS && errno != EOPNOTSUPP)) return n;
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_APPEND) < 0) return -1;
  n = write(fd, bytes, count);
  int saved = errno;
  fcntl(fd, F_SETFL, flags);
  errno = saved;
  return n;
}

enum { APPENDS = 1, ALL = 2 };

/*
 * Writes `count` bytes, or fewer, and returns how many. ALL: a failure counts even if something was written, since nobody waits
 * who could go on from there.
 */
static ssize_t put_piece(int fd, const uint8_t *bytes, size_t count, off_t offset, int how) {
  size_t done = 0;
  while (done < count) {
    ssize_t n = how & APPENDS ? append(fd, bytes + done, count - done)
                              : pwrite(fd, bytes + done, count - done, offset + (off_t)done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (how & ALL || !done)) return -1;
    if (n <= 0) break;
    done += (size_t)n;
  }
  return (ssize_t)done;
}

static int put_to_file(int how) {
  struct handle *h = handle_of((uint32_t)take(4), 0);
  off_t offset = how & APPENDS ? 0 : (off_t)take(8);
  if (bad || !h) return -1;
  ssize_t done = put_piece(h->fd, at, (size_t)(end - at), offset, how);
  if (done < 0) return -1;
  put((uint64_t)done, 4);
  return 0;
}

/* Writes all pieces, whatever becomes of some of them: the first failure is told. */
static int put_many(void) {
  struct handle *h = handle_of((uint32_t)take(4), 0);
  int failure = 0;
  if (bad || !h) return -1;
  while (at < end) {
    off_t offset = (off_t)take(8);
    size_t count = take(4);
    if (bad || count > (size_t)(end - at)) return bad = EINVAL, -1;
    if (put_piece(h->fd, at, count, offset, ALL) < 0 && !failure) failure = errno;
    at += count;
  }
  return failure ? (errno = failure, -1) : 0;
}

static int close_handle(void) {
  struct handle *h = handle_of((uint32_t)take(4), 0);
  if (!h) return -1;
  int result = h->directory ? closedir(h->directory) : close(h->fd);
  *h = (struct handle){-1, NULL, 0, NULL};
  return result;
}

static int sync_file(void) {
  struct handle *h = handle_of((uint32_t)take(4), 0);
  int data_only = (int)take(1);
  if (!h) return -1;
  return data_only ? fdatasync(h->fd) : fsync(h->fd);
}

/* Entries from where the directory stands, as many as fit; whether they are the last, or -1. */
static int put_entries(struct handle *h, size_t room) {
  for (size_t start = length;;) {
    errno = 0;
    struct dirent *e = h->next ? h->next : readdir(h->directory);
    h->next = NULL;
    if (!e) return errno && length == start ? -1 : !errno;
    size_t name = strlen(e->d_name);
    if (length - start + 8 + ATTRIBUTES + 2 + name > room) {
      h->next = e;
      return length > start ? 0 : (errno = EINVAL, -1);
    }
    h->place = e->d_off;
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
    put((uint64_t)e->d_off, 8);
    if (put_attributes_at(h->fd, e->d_name) < 0) {
      /* Gone meanwhile, or not to be looked at: its name and its kind. */
      struct stat status = {.st_dev = root_device, .st_ino = e->d_ino, .st_mode = DTTOIF(e->d_type)};
      put_status(&status);
    }
    put(name, 2);
    memcpy(answer + 12 + length, e->d_name, name);
    length += name;
  }
}

/* With a length, the first entries come with it, after whether they are all. */
static int open_directory(void) {
  char path[PATH_MAX];
  if (!take_string(path, sizeof path)) return 0;
  size_t room = at < end ? take(4) : 0;
  if (room > ANSWER_MAX - 5) room = ANSWER_MAX - 5;
  int fd = resolve(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  DIR *directory = fd < 0 ? NULL : fdopendir(fd);
  if (!directory) return close_with(fd, -1);
  int number = keep(fd, directory);
  if (number < 0) return -1;
  put((uint64_t)number, 4);
  if (!room) return 0;
  put(0, 1);
  answer[12 + 4] = put_entries(&handles[number], room) > 0;
  return 0; /* if they can't be read, who reads on is told why */
}

static int read_directory(void) {
  struct handle *h = handle_of((uint32_t)take(4), 1);
  uint64_t cookie = take(8);
  size_t room = take(4);
  if (bad || !h) return -1;
  if (room > ANSWER_MAX) room = ANSWER_MAX;
  /* Who goes on is not sent to where it stands: some file systems count (ramfs, and tmpfs before Linux 6.6), and would leave
   * out as many entries as were removed since. */
  if (cookie == 0 || (long)cookie != h->place) {
    h->next = NULL;
    if (cookie) seekdir(h->directory, (long)cookie);
    else rewinddir(h->directory);
  }
  h->place = (long)cookie;
  return put_entries(h, room) < 0 ? -1 : 0;
}

/* Runs ACT on the parent and the name of the path that comes next. */
#define IN_PARENT(act)                                    \
  do {                                                    \
    char path[PATH_MAX];                                  \
    const char *name;                                     \
    if (!take_string(path, sizeof path)) return 0;        \
    int parent = resolve_parent(path, &name);             \
    if (parent < 0) return -1;                            \
    return close_with(parent, act);                       \
  } while (0)

static int then_attributes(int parent, const char *name, int result) {
  return result < 0 ? -1 : put_attributes_at(parent, name);
}

static int make_directory(void) {
  mode_t mode = (mode_t)take(4) & 07777;
  IN_PARENT(then_attributes(parent, name, mkdirat(parent, name, mode)));
}

static int make_node(void) {
  mode_t mode = (mode_t)take(4);
  /* No devices: the sandbox could not use them, and the target would have new ones. */
  if (!S_ISFIFO(mode) && !S_ISSOCK(mode) && !S_ISREG(mode)) return errno = EPERM, -1;
  IN_PARENT(then_attributes(parent, name, mknodat(parent, name, mode, 0)));
}

/* What something is mounted on in the target stays: the kernel only keeps the mount points of our own namespace, and would take off
 * what is mounted (rename(2) and the like: EBUSY). */
static int is_free(int parent, const char *name) {
  struct how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = NO_XDEV};
  int fd = (int)syscall(SYS_openat2, parent, name, &how, sizeof how);
  if (fd < 0 && errno == EXDEV) return errno = EBUSY, 0;
  close_with(fd, 0);
  return 1;
}

static int remove_entry(int flags) { IN_PARENT(is_free(parent, name) ? unlinkat(parent, name, flags) : -1); }

static int rename_entry(void) {
  char from[PATH_MAX], to[PATH_MAX];
  const char *old_name, *new_name;
  unsigned flags = (unsigned)take(4);
  if (!take_string(from, sizeof from) || !take_string(to, sizeof to)) return 0;
  int old_parent = resolve_parent(from, &old_name);
  if (old_parent < 0) return -1;
  int new_parent = resolve_parent(to, &new_name);
  if (new_parent < 0) return close_with(old_parent, -1);
  int result = is_free(old_parent, old_name) && is_free(new_parent, new_name)
                   ? (int)syscall(SYS_renameat2, old_parent, old_name, new_parent, new_name, flags)
                   : -1;
  close_with(new_parent, 0);
  return close_with(old_parent, result);
}

static int make_symlink(void) {
  char target[PATH_MAX];
  if (!take_string(target, sizeof target)) return 0;
  IN_PARENT(then_attributes(parent, name, symlinkat(target, parent, name)));
}

static int link_at(int entry, int parent, const char *name) {
  char source[32];
  name_of(entry, source, sizeof source);
  return then_attributes(parent, name, linkat(AT_FDCWD, source, parent, name, AT_SYMLINK_FOLLOW));
}

static int make_link(void) {
  char from[PATH_MAX], path[PATH_MAX];
  const char *name;
  if (!take_string(from, sizeof from) || !take_string(path, sizeof path)) return 0;
  int entry = resolve_entry(from, 0);
  if (entry < 0) return -1;
  int parent = resolve_parent(path, &name);
  if (parent < 0) return close_with(entry, -1);
  int result = link_at(entry, parent, name);
  close_with(parent, 0);
  return close_with(entry, result);
}

static int name_file(void) {
  struct handle *h = handle_of((uint32_t)take(4), 0);
  if (!h) return -1;
  IN_PARENT(link_at(h->fd, parent, name));
}

struct change {
  unsigned valid;
  mode_t mode;
  uid_t uid;
  gid_t gid;
  off_t size;
  struct timespec times[2];
};

static struct timespec take_time(unsigned valid, unsigned set, unsigned now) {
  struct timespec time = {.tv_sec = (time_t)take(8)};
  time.tv_nsec = (long)take(4);
  if (valid & now) time.tv_nsec = UTIME_NOW;
  else if (!(valid & set)) time.tv_nsec = UTIME_OMIT;
  return time;
}

/* The size comes first: with it the kernel takes set-user-ID off; the mode after the owner, for the same reason. */
static int apply(int fd, int is_open, const struct change *c) {
  char name[32];
  name_of(fd, name, sizeof name);
  if (c->valid & SET_SIZE && (is_open ? ftruncate(fd, c->size) : truncate(name, c->size)) < 0) return -1;
  if (c->valid & (SET_UID | SET_GID) && fchownat(fd, "", c->valid & SET_UID ? c->uid : (uid_t)-1,
                                                 c->valid & SET_GID ? c->gid : (gid_t)-1, AT_EMPTY_PATH) < 0)
    return -1;
  if (c->valid & SET_MODE && chmod(name, c->mode) < 0) return -1;
  if (c->valid & (SET_ATIME | SET_MTIME) && utimensat(fd, "", c->times, AT_EMPTY_PATH) < 0) return -1;
  return put_attributes(fd);
}

static int set_attributes(void) {
  char path[PATH_MAX];
  struct change c = {.valid = (unsigned)take(4)};
  c.mode = (mode_t)take(4) & 07777, c.uid = (uid_t)take(4), c.gid = (gid_t)take(4), c.size = (off_t)take(8);
  c.times[0] = take_time(c.valid, SET_ATIME, NOW_ATIME);
  c.times[1] = take_time(c.valid, SET_MTIME, NOW_MTIME);
  int kind = (int)take(1);
  if (kind == 2) {
    struct handle *h = handle_of((uint32_t)take(4), 0);
    return bad || !h ? -1 : apply(h->fd, 1, &c);
  }
  if (!take_string(path, sizeof path)) return 0;
  int fd = resolve_entry(path, kind);
  return fd < 0 ? -1 : close_with(fd, apply(fd, 0, &c));
}

/* As struct fuse_kstatfs. */
static int put_statfs(int fd) {
  struct statfs s;
  if (fstatfs(fd, &s) < 0) return -1;
  put(s.f_blocks, 8), put(s.f_bfree, 8), put(s.f_bavail, 8), put(s.f_files, 8), put(s.f_ffree, 8);
  put((uint64_t)s.f_bsize, 4), put((uint64_t)s.f_namelen, 4), put((uint64_t)s.f_frsize, 4);
  for (int i = 0; i < 7; i++) put(0, 4);
  return 0;
}

static int may_access(int fd, int mask) {
  char name[32];
  name_of(fd, name, sizeof name);
  return access(name, mask);
}

static ssize_t get_attribute(int fd, const char *attribute, size_t room) {
  char name[32];
  name_of(fd, name, sizeof name);
  if (room > XATTR_SIZE_MAX) room = XATTR_SIZE_MAX;
  return attribute ? getxattr(name, attribute, room ? answer + 12 : NULL, room)
                   : listxattr(name, room ? (char *)answer + 12 : NULL, room);
}

/* A size of 0 asks how much there is; then that is the answer. */
static int put_extended(int fd, const char *attribute, size_t room) {
  ssize_t n = get_attribute(fd, attribute, room);
  if (n < 0) return -1;
  if (room) length = (size_t)n;
  else put((uint64_t)n, 4);
  return 0;
}

static int change_attribute(int fd, const char *attribute, int flags, int removes) {
  char name[32];
  name_of(fd, name, sizeof name);
  return removes ? removexattr(name, attribute) : setxattr(name, attribute, at, (size_t)(end - at), flags);
}

/* Requests about what is at a path, or open. */
static int about_entry(enum operation operation) {
  char path[PATH_MAX], attribute[XATTR_NAME_MAX + 1] = "";
  int kind = (int)take(1), number = (int)take(4); /* as file_status'; a mask, a size, or flags */
  struct handle *h = kind == 2 ? handle_of((uint32_t)take(4), 0) : NULL;
  if (kind == 2 ? !h : !take_string(path, sizeof path)) return -1;
  int is_named = operation != STATFS && operation != ACCESS && operation != LISTXATTR;
  if (is_named && !take_string(attribute, sizeof attribute)) return 0;
  if (bad) return -1;
  int fd = h ? fcntl(h->fd, F_DUPFD_CLOEXEC, 0) : resolve_entry(path, kind), result = -1;
  if (fd < 0) return -1;
  if (operation == STATFS) result = put_statfs(fd);
  else if (operation == ACCESS) result = may_access(fd, number & 7);
  else if (operation == GETXATTR) result = put_extended(fd, attribute, (size_t)(unsigned)number);
  else if (operation == LISTXATTR) result = put_extended(fd, NULL, (size_t)(unsigned)number);
  else result = change_attribute(fd, attribute, number, operation == REMOVEXATTR);
  return close_with(fd, result);
}

static int allocate(void) {
  struct handle *h = handle_of((uint32_t)take(4), 0);
  int mode = (int)take(4);
  off_t offset = (off_t)take(8), count = (off_t)take(8);
  return bad || !h ? -1 : fallocate(h->fd, mode, offset, count);
}

static int seek(void) {
  struct handle *h = handle_of((uint32_t)take(4), 0);
  off_t offset = (off_t)take(8);
  int whence = (int)take(4);
  if (bad || !h) return -1;
  off_t found = lseek(h->fd, offset, whence);
  if (found < 0) return -1;
  put((uint64_t)found, 8);
  return 0;
}

static int run(enum operation operation) {
  switch (operation) {
    case HELLO: return say_hello();
    case STAT: return file_status();
    case READLINK: return read_link();
    case OPEN: return open_file();
    case CREATE: return create_file();
    case READ: return read_file();
    case WRITE:
    case WRITEALL: return put_to_file(operation == WRITEALL ? ALL : 0);
    case APPEND:
    case APPENDALL: return put_to_file(APPENDS | (operation == APPENDALL ? ALL : 0));
    case WRITEMANY: return put_many();
    case CLOSE: return close_handle();
    case FSYNC: return sync_file();
    case OPENDIR: return open_directory();
    case READDIR: return read_directory();
    case MKDIR: return make_directory();
    case UNLINK: return remove_entry(0);
    case RMDIR: return remove_entry(AT_REMOVEDIR);
    case RENAME: return rename_entry();
    case SYMLINK: return make_symlink();
    case LINK: return make_link();
    case SETATTR: return set_attributes();
    case STATFS:
    case ACCESS:
    case GETXATTR:
    case LISTXATTR:
    case SETXATTR:
    case REMOVEXATTR: return about_entry(operation);
    case FALLOCATE: return allocate();
    case LSEEK: return seek();
    case MKNOD: return make_node();
    case TMPFILE: return create_nameless();
    case NAME: return name_file();
    default: return errno = ENOSYS, -1;
  }
}

static int write_all(const uint8_t *bytes, size_t count) {
  while (count > 0) {
    ssize_t n = write(FILES_FD, bytes, count);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return -1;
    bytes += n;
    count -= (size_t)n;
  }
  return 0;
}

/* Answers that nobody waits for go out with the next one. */
static uint8_t out[16 * 1024];
static size_t out_length;

static int flush_answers(void) {
  size_t count = out_length;
  out_length = 0;
  return write_all(out, count);
}

static int put_out(const uint8_t *bytes, size_t count) {
  if (count > sizeof out - out_length && flush_answers() < 0) return -1;
  if (count > sizeof out) return write_all(bytes, count);
  memcpy(out + out_length, bytes, count);
  out_length += count;
  return 0;
}

static int is_awaited(enum operation operation) {
  return operation != WRITEALL && operation != APPENDALL && operation != WRITEMANY && operation != CLOSE;
}

/* Runs one request and answers it; -1 when nobody hears the answer. `broken`: what kept us from having a root. */
static int answer_request(const uint8_t *request, size_t size, int broken) {
  at = request, end = request + size, bad = 0, length = 0, errno = 0;
  uint32_t id = (uint32_t)take(4);
  enum operation operation = (enum operation)(take(1) & ~(uint64_t)LATER);
  int result = broken ? (errno = broken, -1) : run(operation);
  uint32_t code = bad ? (uint32_t)bad : result < 0 ? (uint32_t)(errno ? errno : EINVAL) : 0;
  if (code) length = 0;
  uint32_t head[3] = {htole32((uint32_t)(8 + length)), htole32(id), htole32(code)};
  memcpy(answer, head, sizeof head);
  if (put_out(answer, sizeof head + length) < 0) return -1;
  return is_awaited(operation) ? flush_answers() : 0;
}

/* The request that is done later, and how many others were done since it came. */
static struct {
  uint8_t request[PATH_MAX + 64];
  size_t size; /* 0: none */
  int others;
} later;

static int answer_later(int broken) {
  size_t size = later.size;
  later.size = 0;
  later.others = 0;
  return size ? answer_request(later.request, size, broken) : 0;
}

/* Answers a request, or keeps it for later. */
static int take_request(const uint8_t *request, size_t size, int broken) {
  uint8_t operation = size > 4 ? request[4] : 0;
  int may_wait = operation & LATER && size <= sizeof later.request;
  if ((may_wait || operation == CLOSE || ++later.others > OTHERS_MAX) && answer_later(broken) < 0) return -1;
  if (!may_wait) return answer_request(request, size, broken);
  memcpy(later.request, request, size);
  later.size = size;
  return 0;
}

/* Waits for a request; meanwhile does what was kept for later. */
static int await_request(int broken) {
  /* Who waits in read(2) is woken by the reader of its answers, too, for there is room again. */
  struct pollfd readable = {.fd = FILES_FD, .events = POLLIN};
  const struct timespec pause = {.tv_nsec = LATER_NS};
  if (later.size && ppoll(&readable, 1, &pause, NULL) <= 0 && answer_later(broken) < 0) return -1;
  poll(&readable, 1, -1);
  return 0;
}

static int serve_requests(int broken) {
  static uint8_t input[4 + REQUEST_MAX];
  size_t filled = 0;
  for (;;) {
    if (await_request(broken) < 0) return 0;
    ssize_t n = read(FILES_FD, input + filled, sizeof input - filled);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return 0;
    filled += (size_t)n;
    size_t done = 0;
    while (filled - done >= 4) {
      uint32_t size;
      memcpy(&size, input + done, 4);
      size = le32toh(size);
      if (size > REQUEST_MAX) return 1;
      if (filled - done < 4 + size) break;
      if (take_request(input + done + 4, size, broken) < 0) return 0;
      done += 4 + size;
    }
    if (flush_answers() < 0) return 0;
    memmove(input, input + done, filled - done);
    filled -= done;
  }
}

/* Who a process is, by /proc/PID/status: the ids that count for files are the last ones. */
static int read_identity(pid_t pid, uid_t *uid, gid_t *gid, gid_t *groups, int *group_count) {
  char path[64], line[4096];
  int found = 0, room = *group_count;
  *group_count = 0;
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  FILE *file = fopen(path, "re");
  if (!file) return -1;
  while (fgets(line, sizeof line, file)) {
    found += sscanf(line, "Uid: %*u %*u %*u %u", uid) == 1;
    found += sscanf(line, "Gid: %*u %*u %*u %u", gid) == 1;
    if (strncmp(line, "Groups:", 7)) continue;
    char *p = line + 7, *next;
    for (gid_t group; *group_count < room && (group = (gid_t)strtoul(p, &next, 10), next != p); p = next)
      groups[(*group_count)++] = group;
  }
  fclose(file);
  return found == 2 ? 0 : (errno = ESRCH, -1);
}

/* Becomes the target's user, if we are root and it isn't. Without CAP_SETGID (an agent in a cluster has only what it
 * needs to find its way) we stay who we are, with no right but a user's: the modes of files count for us as well. */
static int become_target(pid_t pid) {
  uid_t uid;
  gid_t gid, groups[256];
  int count = sizeof groups / sizeof *groups;
  if (geteuid() != 0) return 0;
  if (read_identity(pid, &uid, &gid, groups, &count) < 0) return -1;
  if (uid == 0) return 0;
  if (setgroups((size_t)count, groups) < 0) return errno == EPERM ? 0 : -1;
  if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0) return -1;
  return 0;
}

int serve_files(int argc, char **argv) {
  char path[64] = "/";
  struct rlimit limit;
  pid_t pid = argc > 1 && !strcmp(argv[0], "pid") ? atoi(argv[1]) : 0;
  if (pid) snprintf(path, sizeof path, "/proc/%d/root", pid);
  else if (argc < 1 || strcmp(argv[0], "root")) return 64;
  umask(0);
  for (int i = 0; i < HANDLES_MAX; i++) handles[i].fd = -1;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  struct stat status;
  root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root >= 0 && fstat(root, &status) == 0) root_device = status.st_dev;
  int broken = root < 0 ? errno : pid && become_target(pid) < 0 ? errno : 0;
  /* Another user than before has no such setting any more (prctl(2)). */
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  return serve_requests(broken);
}
