/*
 * Uses files as programs do, and says how long it took: a command per line of its standard input, one line of JSON
 * for each. Names must not have spaces.
 *
 *   write PATH BYTES BLOCK          makes a file in order; until fsync(2) and close(2) have said that all is well
 *   rewrite PATH BLOCK COUNT        writes blocks anywhere in it, likewise
 *   read PATH BLOCK                 reads it in order
 *   pick PATH BLOCK COUNT           reads blocks from anywhere in it
 *   stat DIRECTORY COUNT            looks at the files 0, 1, 2 … of a directory
 *   slurp DIRECTORY COUNT BLOCK     opens them, reads them in order and closes them
 *   fill DIRECTORY COUNT BYTES      makes a directory, and such files in it
 *   forget PATH                     drops what the kernel has of its bytes
 *   run PROGRAM ARGUMENT…           runs a program; its output goes nowhere
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK_MAX = 1 << 20, WORDS = 32 };
static char block[BLOCK_MAX];
static const char *failed;

static int fail(const char *what) {
  failed = what;
  return -1;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The same places in every run, and different ones in each file system's favour: xorshift. */
static uint64_t scatter(uint64_t *state) {
  *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
  return *state;
}

static int end_write(int fd) {
  if (fsync(fd) < 0) return close(fd), fail("fsync");
  return close(fd) < 0 ? fail("close") : 0;
}

static int write_file(const char *path, long bytes, long size) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) return fail("open");
  for (long done = 0; done < bytes; done += size)
    if (write(fd, block, (size_t)size) != size) return close(fd), fail("write");
  return end_write(fd);
}

static int rewrite_file(const char *path, long size, long count) {
  uint64_t state = 88172645463325252u;
  struct stat status;
  int fd = open(path, O_WRONLY);
  if (fd < 0 || fstat(fd, &status) < 0) return fail("open");
  for (long i = 0; i < count; i++)
    if (pwrite(fd, block, (size_t)size, (off_t)(scatter(&state) % (uint64_t)(status.st_size / size)) * size) != size)
      return close(fd), fail("pwrite");
  return end_write(fd);
}

static int read_file(const char *path, long size) {
  ssize_t n;
  int fd = open(path, O_RDONLY);
  if (fd < 0) return fail("open");
  while ((n = read(fd, block, (size_t)size)) > 0) continue;
  close(fd);
  return n < 0 ? fail("read") : 0;
}

static int pick_file(const char *path, long size, long count) {
  uint64_t state = 88172645463325252u;
  struct stat status;
  int fd = open(path, O_RDONLY);
  if (fd < 0 || fstat(fd, &status) < 0) return fail("open");
  for (long i = 0; i < count; i++)
    if (pread(fd, block, (size_t)size, (off_t)(scatter(&state) % (uint64_t)(status.st_size / size)) * size) != size)
      return close(fd), fail("pread");
  close(fd);
  return 0;
}

static int stat_files(const char *directory, long count) {
  char path[4096];
  struct stat status;
  for (long i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/%ld", directory, i);
    if (stat(path, &status) < 0) return fail("stat");
  }
  return 0;
}

static int slurp_files(const char *directory, long count, long size) {
  char path[4096];
  for (long i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/%ld", directory, i);
    if (read_file(path, size) < 0) return -1;
  }
  return 0;
}

static int fill(const char *directory, long count, long bytes) {
  char path[4096];
  if (mkdir(directory, 0755) < 0) return fail("mkdir");
  for (long i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/%ld", directory, i);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (fd < 0) return fail("open");
    if (bytes > 0 && write(fd, block, (size_t)bytes) != bytes) return close(fd), fail("write");
    if (close(fd) < 0) return fail("close");
  }
  return 0;
}

static int forget(const char *path) {
  int fd = open(path, O_RDONLY);
  if (fd < 0) return fail("open");
  int result = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  close(fd);
  return result ? (errno = result, fail("posix_fadvise")) : 0;
}

static int run(char **argv) {
  extern char **environ;
  posix_spawn_file_actions_t files;
  pid_t pid;
  int status;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
  int result = posix_spawnp(&pid, argv[0], &files, NULL, argv, environ);
  if (result) return errno = result, fail("posix_spawn");
  if (waitpid(pid, &status, 0) < 0 || status) return errno = ECHILD, fail(argv[0]);
  return 0;
}

static int obey(char **words, int count) {
  long numbers[2] = {0};
  for (int i = 2; i < count && i < 4; i++) numbers[i - 2] = atol(words[i]);
#define IS(name, words_wanted) (count == (words_wanted) && !strcmp(words[0], name))
  if (IS("write", 4)) return write_file(words[1], numbers[0], numbers[1]);
  if (IS("rewrite", 4)) return rewrite_file(words[1], numbers[0], numbers[1]);
  if (IS("read", 3)) return read_file(words[1], numbers[0]);
  if (IS("pick", 4)) return pick_file(words[1], numbers[0], numbers[1]);
  if (IS("stat", 3)) return stat_files(words[1], numbers[0]);
  if (IS("slurp", 4)) return slurp_files(words[1], numbers[0], numbers[1]);
  if (IS("fill", 4)) return fill(words[1], numbers[0], numbers[1]);
  if (IS("forget", 2)) return forget(words[1]);
  if (count > 1 && !strcmp(words[0], "run")) return run(words + 1);
  return errno = EINVAL, fail(words[0]);
}

int main(void) {
  static char line[16384];
  memset(block, 0x5a, sizeof block);
  setvbuf(stdout, NULL, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin)) {
    char *words[WORDS + 1];
    int count = 0;
    for (char *word = strtok(line, " \n"); word && count < WORDS; word = strtok(NULL, " \n")) words[count++] = word;
    words[count] = NULL;
    if (!count) continue;
    double begin = now();
    if (obey(words, count) < 0) printf("{\"error\":\"%s: %s\"}\n", failed, strerror(errno));
    else printf("{\"seconds\":%.9f}\n", now() - begin);
  }
  return 0;
}
