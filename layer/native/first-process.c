/*
 * The first process of an agent's container: it stays for as long as anything of the agent's does, and ends as that did.
 *
 * A container is over when its first process is, whatever else runs in it; and in a namespace of its own, the kernel kills
 * the rest at once (pid_namespaces(7)). The agent leaves a process that goes on with what passed through it, if it is killed (standby.c).
 * So the agent is our child, and whatever it leaves becomes one (PR_SET_CHILD_SUBREAPER). We have no memory to speak of, and do nothing but
 * to pass its signals on; and when it is gone and others stay, to say so to its client, who comes back and asks whether it is ready
 * (cli/kube/agent/ready.ts).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher.h"

/* How long one may take to ask and to read, ms. They come from this machine, and one after the other. */
#define ASK_MS 300

/* Reaps what has ended; notes how `child` has. Returns whether anything is left. */
static int reap(pid_t child, int *status) {
  int ended;
  pid_t pid;
  while ((pid = waitpid(-1, &ended, WNOHANG)) > 0)
    if (pid == child) *status = WIFSIGNALED(ended) ? 128 + WTERMSIG(ended) : WEXITSTATUS(ended);
  return pid == 0 || errno != ECHILD;
}

static void say_gone(int listener) {
  static const char answer[] = "HTTP/1.1 410 Gone\r\nconnection: close\r\n\r\n";
  struct timeval limit = {0, ASK_MS * 1000};
  char asked[1024];
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  if (fd < 0) return;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  /* Closed with something unread, it would be reset, and the answer lost. */
  if (recv(fd, asked, sizeof asked, 0) > 0 && send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) > 0) {
    shutdown(fd, SHUT_WR);
    while (recv(fd, asked, sizeof asked, 0) > 0) {
    }
  }
  close(fd);
}

/* Closes all but the standard streams and what is to be kept, in ascending order. */
static void close_all_but(const int *kept, size_t count) {
  unsigned first = 3;
  for (size_t i = 0; i < count; i++) {
    if (kept[i] < 3) continue;
    if ((unsigned)kept[i] > first) syscall(SYS_close_range, first, (unsigned)kept[i] - 1, 0u);
    first = (unsigned)kept[i] + 1;
  }
  syscall(SYS_close_range, first, ~0u, 0u);
}

static void pass_signals_on(int signals, pid_t child) {
  struct signalfd_siginfo info;
  while (read(signals, &info, sizeof info) == sizeof info)
    if (info.ssi_signo != SIGCHLD && child > 0) kill(child, (int)info.ssi_signo);
}

int become_first(const int listeners[2]) {
  sigset_t all, former;
  int status = -1, is_told = 0;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &former);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  pid_t self = getpid(), child = fork();
  if (child < 0) return failed("fork");
  if (!child) {
    /* Without us there is nobody who'd end it. It has rules to remove. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != self) _exit(1);
    sigprocmask(SIG_SETMASK, &former, NULL);
    return 0;
  }
  close_all_but(listeners, 2);
  int signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
  while (reap(child, &status)) {
    int is_gone = status >= 0;
    if (status >= 128 && !is_told) fprintf(stderr, "mirrord-launcher: the agent has ended with status %d; what it has left goes on\n", status);
    is_told = is_gone;
    /* A negative descriptor is none (poll(2)). */
    struct pollfd watched[3] = {{.fd = signals, .events = POLLIN},
                                {.fd = is_gone ? listeners[0] : -1, .events = POLLIN},
                                {.fd = is_gone ? listeners[1] : -1, .events = POLLIN}};
    poll(watched, 3, -1);
    for (int i = 1; i < 3; i++)
      if (watched[i].revents & POLLIN) say_gone(watched[i].fd);
    if (watched[0].revents) pass_signals_on(signals, is_gone ? 0 : child);
  }
  _exit(status < 0 ? 1 : status);
}
