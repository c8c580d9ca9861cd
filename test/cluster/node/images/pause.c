/*
 * The first process of every pod: it holds the pod's namespaces, and waits for the processes that others
 * leave behind in a shared pid namespace.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal) {
  (void)signal;
  _exit(0);
}

static void reap(int signal) {
  (void)signal;
  while (waitpid(-1, NULL, WNOHANG) > 0) continue;
}

int main(void) {
  struct sigaction ends = {.sa_handler = end}, reaps = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP};
  sigaction(SIGINT, &ends, NULL);
  sigaction(SIGTERM, &ends, NULL);
  sigaction(SIGCHLD, &reaps, NULL);
  for (;;) pause();
}
