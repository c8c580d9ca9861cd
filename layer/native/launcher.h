/* What the files of the launcher share. */
#ifndef MIRRORD_LAUNCHER_H
#define MIRRORD_LAUNCHER_H
#include <stddef.h>
#include <sys/types.h>

/* The failed call of the last command, for the answer to it. */
extern const char *failed_call;

/* Notes `call` as the one that failed and returns -errno. */
int failed(const char *call);

/* The answer to a command: text, and at most one file descriptor (or -1), which is closed once sent. */
struct answer {
  char text[256];
  int fd;
};

/* Namespaces */
int unshare_namespaces(char **names, int count);
int enter_namespaces(pid_t pid, int mount);

/* Capabilities of the program after exec. */
enum capabilities { CAPABILITIES_CONTAINER, CAPABILITIES_KEEP, CAPABILITIES_UNTOUCHED };
int set_capabilities(enum capabilities wanted);
void keep_network(void);

/* Mounts; all paths absolute. */
/* Any directory that every system has will do: it is covered for a moment, in our namespace only. */
#define STAGE "/tmp"
int stage(void);
/* Fills STAGE "/thaw" with the entries of a directory, at most `limit` (E2BIG). */
int stage_thawed(int directory, size_t limit);
/* "/proc/self/fd/N": names an open place whatever gets mounted over its path. */
void name_of(int fd, char *name, size_t size);
int mount_file(const char *path, const char *content, size_t length);
int mount_thawed(const char *directory);
int mount_bind(const char *from, const char *to, const char *option);
int mount_tmpfs(const char *path, const char *options);
int mount_network_sysfs(void);
int make_directories(const char *path);
int write_file(const char *path, const char *content, size_t length, mode_t mode);
int pivot(const char *root);

/* Mounts while the program runs: a socket bound and shown at an open place, a directory that can be added to. */
int show_socket(int place, int socket);
int show_mirror(const char *directory);

/* A root of the sandbox's own. */
int root_begin(void);
int mount_fuse(struct answer *a);
int root_show(const char *what, const char *path);
int root_thaw(const char *path, char **names, int count);
int root_link(const char *path, const char *target);
int root_enter(void);

/* Commands that nobody waits for. */
int batch_is_open(void);
int batch_begin(void);
int batch_add(const char *message, size_t length);
int batch_run(int (*obey)(char **fields, int count, struct answer *answer));
int batch_state(struct answer *a);

/* Sockets made inside, used outside; the arguments of the commands. */
int open_listener(char **args, int count, struct answer *a);
int open_raw(char **args, struct answer *a);
int open_connection(char **args, struct answer *a);
int open_diagnostics(struct answer *a);
int open_unix(char **args, int count, struct answer *a);
int make_unix(const char *type, struct answer *a);
int cover_with_unix(const char *path);
int forget_unix(void);

/* No IPv6 sockets from now on, for the program and for us. */
int forbid_ipv6(void);

/* Becomes the first process of a container, and returns 0 in a child of it, or -errno. Listening sockets of the child's, in
 * ascending order, -1: none. */
int become_first(const int listeners[2]);

/* The program's descriptors. */
int place_descriptors(int socket, const char *list);
void close_descriptors(void);

/* Guarding the program. */
struct program_start {
  char **argv;
  char *directory; /* where it starts; where we are, if NULL */
  enum capabilities capabilities;
  unsigned long long ignored; /* signals that it is to ignore: bit n - 1, as SigIgn in proc(5) */
  unsigned long long open_files; /* its soft RLIMIT_NOFILE; 0: as it is */
};
int start_program(const struct program_start *start, pid_t *program);
/* The same, but tells only whether it was forked: `*report` is to be asked, which never waits. */
int begin_program(const struct program_start *start, pid_t *program, int *report);
/* 1 while the program is not executed yet, 0 once it is, or -errno; then the report is closed. */
int program_state(int *report, pid_t *program);
void kill_descendants(void);

/* What must not be left on disk. */
int leave_no(const char *path);
int leave(const char *path);
void leave_made(void);
void remove_leavings(void);

/* `launcher enter …`: the arguments from PID on. Returns the exit status where it fails. */
int enter(int argc, char **argv);

/* The program `launcher records`. */
int relay_records(int argc, char **argv);

/* The program `launcher files`. */
int serve_files(int argc, char **argv);
#endif
