/*
 * Guarding the program: starting it, passing its stops on, and leaving no process behind.
 *
 * The launcher stays as the program's parent and as the subreaper of all that it starts
 * (PR_SET_CHILD_SUBREAPER): whatever daemonises itself becomes its child again, so that at the end
 * the whole tree can be found and killed. The program itself also dies with the launcher
 * (PR_SET_PDEATHSIG), should somebody kill that; what it has started is mirrord's to end then
 * (layer/sandbox/orphans.ts).
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launcher.h"

/* After a polite signal, processes get GRACE_MS to end; SIGKILL then gets KILL_MS to work (one stuck
 * in the kernel can't be waited for). */
#define GRACE_MS 300
#define KILL_MS 3000
#define STEP_MS 10

static void run_program(const struct program_start *start, pid_t parent, int report) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  /* libuv gave us the default effect of all signals; the person may have said otherwise (nohup). */
  for (int n = 1; n < NSIG && n <= 64; n++)
    if (start->ignored >> (n - 1) & 1) signal(n, SIG_IGN);
  struct rlimit files;
  if (start->open_files && getrlimit(RLIMIT_NOFILE, &files) == 0 && start->open_files < files.rlim_cur) {
    files.rlim_cur = start->open_files; /* Node has raised it to the hard limit */
    setrlimit(RLIMIT_NOFILE, &files);
  }
  int code = set_capabilities(start->capabilities) < 0 ? errno : 0;
  if (!code) {
    /* After the capabilities changed: that clears the setting (prctl(2)). */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    if (start->directory && chdir(start->directory) < 0) code = errno;
  }
  if (!code) {
    execvp(start->argv[0], start->argv);
    code = errno;
  }
  (void)!write(report, &code, sizeof code);
  _exit(127);
}

int begin_program(const struct program_start *start, pid_t *program, int *report) {
  int pair[2];
  pid_t self = getpid();
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  if (pipe2(pair, O_CLOEXEC) < 0) return failed("pipe");
  *program = fork();
  if (*program < 0) return close(pair[0]), close(pair[1]), failed("fork");
  if (!*program) run_program(start, self, pair[1]);
  close(pair[1]);
  fcntl(pair[0], F_SETFL, O_NONBLOCK);
  *report = pair[0];
  return 0;
}

int program_state(int *report, pid_t *program) {
  int code = 0;
  ssize_t n = read(*report, &code, sizeof code);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 1;
  close(*report);
  *report = -1;
  if (n != sizeof code) return 0;
  waitpid(*program, NULL, 0);
  *program = 0;
  return errno = code, failed("execve");
}

/* Forks and executes; returns once the program runs, or -errno of what kept it from running. */
int start_program(const struct program_start *start, pid_t *program) {
  int report, result = begin_program(start, program, &report);
  if (result) return result;
  struct pollfd watched = {report, POLLIN, 0};
  do poll(&watched, 1, -1);
  while ((result = program_state(&report, program)) > 0);
  return result;
}

struct process {
  pid_t pid, parent;
  int ours;
};

/* The parent of a process from /proc/PID/stat, whose second field may hold anything. */
static pid_t parent_of(const char *pid) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return 0;
  text[n] = 0;
  char *end = strrchr(text, ')');
  int parent = 0;
  return end && sscanf(end + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

/* All processes there are; the caller frees the array. */
static struct process *list_processes(size_t *count) {
  struct process *all = NULL;
  size_t room = 0;
  *count = 0;
  DIR *proc = opendir("/proc");
  for (struct dirent *e; proc && (e = readdir(proc));) {
    if (!isdigit((unsigned char)e->d_name[0])) continue;
    if (*count == room) {
      struct process *more = realloc(all, (room = room ? 2 * room : 512) * sizeof *all);
      if (!more) break;
      all = more;
    }
    all[(*count)++] = (struct process){atoi(e->d_name), parent_of(e->d_name), 0};
  }
  if (proc) closedir(proc);
  return all;
}

/* Signals every descendant. */
static void signal_descendants(int signal) {
  size_t count;
  struct process *all = list_processes(&count);
  pid_t self = getpid();
  for (int again = 1; again;) {
    again = 0;
    for (size_t i = 0; i < count; i++) {
      if (all[i].ours) continue;
      int child = all[i].parent == self;
      for (size_t j = 0; j < count && !child; j++) child = all[j].ours && all[j].pid == all[i].parent;
      if (!child) continue;
      all[i].ours = again = 1;
      kill(all[i].pid, signal);
    }
  }
  free(all);
}

/* Reaps what has ended. Returns whether children are left. */
static int reap(void) {
  pid_t pid;
  while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
  }
  return pid == 0;
}

static int wait_for_descendants(int signal, int limit_ms) {
  struct timespec step = {0, STEP_MS * 1000000L};
  for (int waited = 0; reap(); waited += STEP_MS) {
    if (waited >= limit_ms) return 0;
    if (waited == 0 || signal == SIGKILL) signal_descendants(signal);
    if (waited == 0 && signal == SIGTERM) signal_descendants(SIGCONT); /* a stopped one hears nothing */
    nanosleep(&step, NULL);
  }
  return 1;
}

void kill_descendants(void) {
  if (!wait_for_descendants(SIGTERM, GRACE_MS)) wait_for_descendants(SIGKILL, KILL_MS);
}
