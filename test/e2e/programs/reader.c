/*
 * reader DIRECTORY: reads what is in it by the calls that programs make: stdio, opendir(3), mmap(2), readlink(2), realpath(3),
 * glob(3). Prints a line for each; for a C library other than glibc.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __GLIBC__
#error "meant for another C library"
#endif

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int by_name(const void *one, const void *other) { return strcmp(*(char *const *)one, *(char *const *)other); }

static void list(void) {
  char *names[16];
  int count = 0;
  DIR *directory = opendir(".");
  if (!directory) fail("opendir");
  for (struct dirent *e; (e = readdir(directory)) && count < 16;)
    if (e->d_name[0] != '.') names[count++] = strdup(e->d_name);
  closedir(directory);
  qsort(names, (size_t)count, sizeof *names, by_name);
  printf("opendir:");
  for (int i = 0; i < count; i++) printf(" %s", names[i]);
  printf("\n");
}

static void read_lines(void) {
  char line[64];
  FILE *file = fopen("text", "r");
  if (!file) fail("fopen");
  printf("stdio:");
  while (fgets(line, sizeof line, file)) printf(" %.*s", (int)strcspn(line, "\n"), line);
  if (fseek(file, -4, SEEK_END) < 0 || !fgets(line, sizeof line, file)) fail("fseek");
  printf(", at last %s", line);
  fclose(file);
}

static void map(void) {
  struct stat status;
  int fd = open("large", O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &status) < 0) fail("open");
  char *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (bytes == MAP_FAILED) fail("mmap");
  long newlines = 0;
  for (off_t i = 0; i < status.st_size; i++) newlines += bytes[i] == '\n';
  printf("mmap: %ld lines\n", newlines);
}

static void follow(void) {
  char target[PATH_MAX] = "", real[PATH_MAX];
  if (readlink("link", target, sizeof target - 1) < 0) fail("readlink");
  if (!realpath("link", real)) fail("realpath");
  printf("readlink: %s, realpath: %s\n", target, real);
}

static void match(void) {
  glob_t found;
  if (glob("l*", 0, NULL, &found)) fail("glob");
  printf("glob: %zu\n", found.gl_pathc);
}

int main(int argc, char **argv) {
  if (argc != 2 || chdir(argv[1]) < 0) fail("chdir");
  list(), read_lines(), map(), follow(), match();
  if (fopen("none", "r")) return 2;
  printf("none: %s\n", strerror(errno));
  return 0;
}
