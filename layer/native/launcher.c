/*
 * mirrord-launcher: the process that makes a sandbox, starts the program in it, and stays to guard it.
 *
 *   launcher serve FD [--descriptors N,N…] -- PROGRAM [ARGUMENT…]
 *   launcher enter PID [OPTION…] -- PROGRAM…         (enter.c)
 *   launcher records connected | dial NAME LENGTH    (records.c)
 *   launcher files pid PID | root                    (files.c)
 *
 * Theory of operation. Namespaces must be entered before a program starts threads, so Node can't do
 * it: this does. `serve` obeys commands on FD, a SOCK_SEQPACKET unix socket whose other end mirrord
 * holds; policy stays there. A command is one message of NUL-terminated fields, `name arg…`; the answer
 * is `ok value…`, with at most one file descriptor, or `err ERRNO CALL DETAIL`. `exec [foreground]` starts PROGRAM
 * with our own environment and working directory, and the descriptors that it is to have (descriptors.c). From then on we are its guardian:
 *
 *   - it ends: what it left running is ended too, and we end as it did (same status, same signal);
 *   - it stops (Ctrl-Z): started in the foreground, we stop mirrord, which ignores the terminal's own stop signal, so that the
 *     shell sees the job stopped exactly when the program is; continued, we continue it;
 *   - FD closes: mirrord is gone, even by SIGKILL: everything is killed. Unless `outlive` was given, for
 *     a program that goes on by itself (the demo cluster).
 *
 * At either end it removes what mirrord said it must not leave on disk (`leave-no`).
 *
 * Nothing here is setuid; nothing is left on disk. Linked statically: the program's environment
 * (LD_PRELOAD, LD_LIBRARY_PATH) is ours too, and must not reach our own code.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fd-passing.h"
#include "launcher.h"
#include "netlink.h"

#define MAX_FIELDS 64
/* TUN offloads, best first: USO came with Linux 6.2 and must be asked for both families together. */
#define OFFLOADS_USO (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | 0x60)
#define OFFLOADS_TSO (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)

const char *failed_call = "";
static char detail[2048];

int failed(const char *call) {
  failed_call = call;
  return -errno;
}

/* A negative result of a netlink call, which has no errno of its own. */
static int netlink_failed(const char *call, int result) {
  failed_call = call;
  return result;
}

static struct {
  struct program_start program_start;
  pid_t program;
  int report; /* of a program that may not be executed yet; or -1 */
  int start_result;
  int follows_stops;
  int is_stopped;
  int outlives;
} state = {.report = -1};

static int open_tun(char **args, struct answer *a) {
  static const unsigned offers[] = {OFFLOADS_USO, OFFLOADS_TSO, TUN_F_CSUM, 0};
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return failed("open /dev/net/tun");
  strncpy(request.ifr_name, args[0], IFNAMSIZ - 1);
  if (ioctl(fd, TUNSETIFF, &request) < 0) {
    int result = failed("TUNSETIFF");
    close(fd);
    return result;
  }
  unsigned taken = 0;
  for (size_t i = 0; i < sizeof offers / sizeof *offers; i++)
    if (ioctl(fd, TUNSETOFFLOAD, offers[i]) == 0) {
      taken = offers[i];
      break;
    }
  snprintf(a->text, sizeof a->text, "%u", taken);
  a->fd = fd;
  return 0;
}

/* run INPUT PROGRAM ARG…: a helper (nft) inside, to its end. Its complaints become the detail. */
static int run_helper(const char *input, char **argv) {
  int in[2], err[2], status = 0;
  if (pipe2(in, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) return failed("pipe");
  pid_t pid = fork();
  if (pid < 0) return failed("fork");
  if (!pid) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    static char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    if (set_capabilities(CAPABILITIES_KEEP) < 0) _exit(126);
    dup2(in[0], 0);
    dup2(err[1], 1);
    dup2(err[1], 2);
    execve(argv[0], argv, environment);
    _exit(127);
  }
  close(in[0]);
  close(err[1]);
  /* SIGPIPE is blocked like all others: a helper that doesn't read shows in its status. */
  for (size_t done = 0, all = strlen(input); done < all;) {
    ssize_t n = write(in[1], input + done, all - done);
    if (n < 0) break;
    done += (size_t)n;
  }
  close(in[1]);
  size_t used = 0;
  char rest[512];
  for (ssize_t n; (n = used < sizeof detail - 1 ? read(err[0], detail + used, sizeof detail - 1 - used)
                                                : read(err[0], rest, sizeof rest)) > 0;)
    if (used < sizeof detail - 1) used += (size_t)n;
  detail[used] = 0;
  close(err[0]);
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
  errno = WIFEXITED(status) && WEXITSTATUS(status) == 127 ? ENOENT : EINVAL;
  return failed(argv[0]);
}

static int set_program_capabilities(const char *wanted) {
  state.program_start.capabilities = !strcmp(wanted, "keep")       ? CAPABILITIES_KEEP
                                     : !strcmp(wanted, "untouched") ? CAPABILITIES_UNTOUCHED
                                                                    : CAPABILITIES_CONTAINER;
  return 0;
}

/* `later`: answers at once; how it went is `exec-state`'s business. */
static int execute(char **args, int count, struct answer *a) {
  int later = 0;
  if (state.program) return errno = EBUSY, failed("exec");
  state.follows_stops = 0;
  for (int i = 0; i < count; i++) {
    if (!strcmp(args[i], "foreground")) state.follows_stops = 1;
    if (!strcmp(args[i], "later")) later = 1;
  }
  int result = later ? begin_program(&state.program_start, &state.program, &state.report)
                     : start_program(&state.program_start, &state.program);
  if (!result) snprintf(a->text, sizeof a->text, "%d", state.program);
  /* One that could not be executed is tried no more: mirrord ends. */
  close_descriptors();
  return result;
}

/* Learns whether the program was executed, if that is not known yet. */
static void look_at_start(void) {
  if (state.report < 0) return;
  int result = program_state(&state.report, &state.program);
  if (result <= 0) state.start_result = result;
}

static int tell_start(struct answer *a) {
  look_at_start();
  if (state.report >= 0) snprintf(a->text, sizeof a->text, "pending");
  return state.start_result < 0 ? (failed_call = "execve", state.start_result) : 0;
}

static int obey(char **f, int count, struct answer *a);

static int run_batch(const char *what, struct answer *a) {
  return !strcmp(what, "begin") ? batch_begin() : !strcmp(what, "run") ? batch_run(obey) : batch_state(a);
}

static int set_link(char **args) {
  const char *what = args[1];
  int result = !strcmp(what, "mtu")      ? link_set_mtu(args[0], (unsigned)atoi(args[2]))
               : !strcmp(what, "queue")  ? link_set_queue(args[0], (unsigned)atoi(args[2]))
               : !strcmp(what, "master") ? link_set_master(args[0], args[2])
                                         : link_set_up(args[0], !strcmp(args[2], "up"));
  return netlink_failed(what, result);
}

/* Runs one command: f[0] is its name, the rest its arguments. */
static int obey(char **f, int count, struct answer *a) {
  char **args = f + 1;
  int n = count - 1;
#define IS(command, least) (!strcmp(f[0], command) && n >= (least))
  if (IS("unshare", 1)) return unshare_namespaces(args, n);
  if (IS("join", 1)) return enter_namespaces(atoi(args[0]), 1);
  if (IS("tun", 1)) return open_tun(args, a);
  if (IS("link", 3)) return set_link(args);
  if (IS("address", 2)) return netlink_failed("RTM_NEWADDR", address_add(args[0], args[1]));
  if (IS("route", 3)) return netlink_failed("RTM_NEWROUTE", route_add(args[0], args[1], args[2]));
  if (IS("bridge", 1)) return netlink_failed("RTM_NEWLINK bridge", link_add_bridge(args[0], n > 1 ? args[1] : NULL));
  if (IS("veth", 3)) return netlink_failed("RTM_NEWLINK veth", link_add_veth(args[0], args[1], atoi(args[2]), n > 3 ? args[3] : NULL));
  if (IS("hostname", 1)) return sethostname(args[0], strlen(args[0])) < 0 ? failed("sethostname") : 0;
  if (IS("file", 2)) return mount_file(args[0], args[1], strlen(args[1]));
  if (IS("thaw", 1)) return mount_thawed(args[0]);
  if (IS("bind", 3)) return mount_bind(args[0], args[1], args[2]);
  if (IS("tmpfs", 2)) return mount_tmpfs(args[0], args[1]);
  if (IS("netsysfs", 0)) return mount_network_sysfs();
  if (IS("mkdir", 1)) return make_directories(args[0]);
  if (IS("symlink", 2)) return symlink(args[0], args[1]) < 0 ? failed("symlink") : 0;
  if (IS("write", 3)) return write_file(args[0], args[1], strlen(args[1]), (mode_t)strtol(args[2], NULL, 8));
  if (IS("unlink", 1)) return unlink(args[0]) < 0 && errno != ENOENT ? failed("unlink") : 0;
  if (IS("pivot", 1)) return pivot(args[0]);
  if (IS("chdir", 1)) return chdir(args[0]) < 0 ? failed("chdir") : 0;
  if (IS("listen", 3)) return open_listener(args, n, a);
  if (IS("raw", 1)) return open_raw(args, a);
  if (IS("connect", 3)) return open_connection(args, a);
  if (IS("diag", 0)) return open_diagnostics(a);
  if (IS("no-ipv6", 0)) return forbid_ipv6();
  if (IS("unix", 2)) return open_unix(args, n, a);
  if (IS("unix-make", 1)) return make_unix(args[0], a);
  if (IS("unix-cover", 1)) return cover_with_unix(args[0]);
  if (IS("unix-forget", 0)) return forget_unix();
  if (IS("run", 2)) {
    f[count] = NULL;
    return run_helper(args[0], args + 1);
  }
  if (IS("open-files", 1)) return state.program_start.open_files = strtoull(args[0], NULL, 10), 0;
  if (IS("ignore", 1)) return state.program_start.ignored = strtoull(args[0], NULL, 16), 0;
  if (IS("capabilities", 1)) return set_program_capabilities(args[0]);
  if (IS("start-in", 1)) return (state.program_start.directory = strdup(args[0])) ? 0 : failed("strdup");
  if (IS("exec", 0)) return execute(args, n, a);
  if (IS("exec-state", 0)) return tell_start(a);
  if (IS("batch", 1)) return run_batch(args[0], a);
  if (IS("root-begin", 0)) return root_begin();
  if (IS("root-show", 2)) return root_show(args[0], args[1]);
  if (IS("root-thaw", 1)) return root_thaw(args[0], args + 1, n - 1);
  if (IS("root-link", 2)) return root_link(args[0], args[1]);
  if (IS("root-enter", 0)) return root_enter();
  if (IS("fuse", 0)) return mount_fuse(a);
  if (IS("outlive", 0)) return state.outlives = 1, 0;
  if (IS("leave-no", 1)) return leave_no(args[0]);
  if (IS("leave", 1)) return leave(args[0]);
#undef IS
  return errno = ENOSYS, failed("command");
}

static void reply(int socket, int result, const struct answer *a) {
  char text[sizeof detail + 512];
  int length = result < 0
                   ? snprintf(text, sizeof text, "err%c%d%c%.200s%c%s", 0, -result, 0, failed_call, 0, detail)
                   : snprintf(text, sizeof text, "ok%c%s", 0, a->text);
  send_message(socket, text, (size_t)length, &a->fd, a->fd >= 0);
  if (a->fd >= 0) close(a->fd);
}

/* Takes one message and answers it. Returns 0 when the other end is gone. */
static int serve_one(int socket) {
  static char message[MESSAGE_MAX + 1];
  char *fields[MAX_FIELDS + 1];
  int fds[MAX_FDS], count = 0;
  size_t passed;
  ssize_t n = receive_message(socket, message, MESSAGE_MAX, fds, &passed);
  if (n < 0 && errno == EINTR) return 1;
  if (n <= 0) return 0;
  message[n] = 0;
  for (char *p = message; p < message + n && count < MAX_FIELDS; p += strlen(p) + 1) fields[count++] = p;
  struct answer a = {"", -1};
  detail[0] = 0;
  failed_call = "";
  int is_queued = batch_is_open() && strcmp(fields[0], "batch");
  int result = is_queued ? batch_add(message, (size_t)n) : obey(fields, count, &a);
  reply(socket, result, &a);
  return 1;
}

/* Ends as the program did, so that our parent sees what it would have seen of the program. */
static void end_like(int status) {
  kill_descendants();
  remove_leavings();
  if (!WIFSIGNALED(status)) exit(WEXITSTATUS(status));
  struct rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  int number = WTERMSIG(status);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  signal(number, SIG_DFL);
  raise(number);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  exit(128 + number);
}

static void on_child(void) {
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED)) > 0;) {
    if (pid != state.program) continue; /* an orphan of the program's, reaped */
    /* It ended because it could not be executed: that is told, and is not its end. */
    if (state.report >= 0) look_at_start();
    if (!state.program) continue;
    if (WIFSTOPPED(status)) {
      state.is_stopped = 1;
      if (state.follows_stops) kill(getppid(), SIGSTOP);
    } else if (WIFCONTINUED(status)) {
      state.is_stopped = 0;
    } else {
      end_like(status);
    }
  }
}

/* The shell continued us: hand the terminal back to the program if it has a process group of its own. */
static void on_continue(void) {
  if (!state.program || !state.is_stopped) return;
  pid_t group = getpgid(state.program);
  if (group > 0 && group != getpgrp()) {
    int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (terminal >= 0 && tcgetpgrp(terminal) == getpgrp()) tcsetpgrp(terminal, group);
    if (terminal >= 0) close(terminal);
    kill(-group, SIGCONT);
  } else {
    kill(state.program, SIGCONT);
  }
}

static int serve(int socket, char **argv) {
  state.program_start.argv = argv;
  fcntl(socket, F_SETFD, FD_CLOEXEC);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, NULL); /* the program's signals are not ours; restored in the child */
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGCHLD);
  sigaddset(&wanted, SIGCONT);
  int signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
  struct pollfd watched[] = {{socket, POLLIN, 0}, {signals, POLLIN, 0}};
  for (;;) {
    if (poll(watched, 2, -1) < 0 && errno != EINTR) return 1;
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof info) == sizeof info)
      info.ssi_signo == SIGCHLD ? on_child() : on_continue();
    if (watched[0].revents && !serve_one(socket)) {
      if (state.outlives) {
        watched[0].fd = -1;
        continue;
      }
      kill_descendants();
      remove_leavings();
      return 1;
    }
  }
}

int main(int argc, char **argv) {
  if (argc > 4 && !strcmp(argv[1], "serve")) {
    int socket = atoi(argv[2]), i = 3;
    if (argc > 6 && !strcmp(argv[3], "--descriptors")) socket = place_descriptors(socket, argv[4]), i = 5;
    if (socket < 0) return perror("mirrord-launcher: descriptors"), 65;
    if (!strcmp(argv[i], "--")) return serve(socket, argv + i + 1);
  }
  if (argc > 4 && !strcmp(argv[1], "enter")) return enter(argc - 2, argv + 2);
  if (argc > 2 && !strcmp(argv[1], "records")) return relay_records(argc - 2, argv + 2);
  if (argc > 2 && !strcmp(argv[1], "files")) return serve_files(argc - 2, argv + 2);
  fprintf(stderr, "usage: launcher serve FD [--descriptors N,N…] -- PROGRAM… | launcher enter PID [OPTION…] -- PROGRAM… | launcher records …\n");
  return 64;
}
