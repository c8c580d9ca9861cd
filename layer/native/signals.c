/*
 * Signals with their sender, which Node doesn't tell: those that somebody sends to mirrord are meant for the program that it runs, and
 * those of the terminal the program has already.
 *
 * A program's daemons become our children, so that they end with it.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>

#include "napi-arguments.h"

/* The program that gets the signals sent to us. */
static volatile sig_atomic_t relay_target;
/* One that came before the program was there. */
static volatile sig_atomic_t pending;

/* What the terminal sends (si_code > 0, from the kernel) goes to the whole foreground process group, so
 * the program has it already; what a process sends to us is meant for the program. */
static void relay(int signal, siginfo_t *info, void *context) {
  (void)context;
  int saved = errno;
  if (info->si_code <= 0 && relay_target > 0) kill((pid_t)relay_target, signal);
  else if (info->si_code <= 0) pending = signal;
  errno = saved;
}

/* relaySignals(pid): from now on. -1, before the program starts: the first thing that it does may bring a
 * Ctrl-C, which must not end us; what others send waits for it. 0 gives them their default effect on us back. */
napi_value relay_signals(napi_env env, napi_callback_info info) {
  static const int relayed[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
  napi_value args[1];
  arguments(env, info, args, 1);
  relay_target = int_argument(env, args[0]);
  struct sigaction action = {.sa_flags = SA_SIGINFO | SA_RESTART, .sa_sigaction = relay};
  if (!relay_target) action = (struct sigaction){.sa_handler = SIG_DFL};
  sigset_t wanted;
  sigemptyset(&wanted);
  for (size_t i = 0; i < sizeof relayed / sizeof *relayed; i++) {
    sigaction(relayed[i], &action, NULL);
    sigaddset(&wanted, relayed[i]);
  }
  /* Node's --disable-sigusr1 blocks that signal. */
  pthread_sigmask(SIG_UNBLOCK, &wanted, NULL);
  if (relay_target > 0 && pending) kill((pid_t)relay_target, pending);
  if (relay_target >= 0) pending = 0;
  /* We stop when the program does, not before: its guardian stops us. */
  signal(SIGTSTP, relay_target ? SIG_IGN : SIG_DFL);
  return number(env, 0);
}

/* becomeSubreaper() -> 0 | -errno: processes below us that lose their parent become our children. */
napi_value become_subreaper(napi_env env, napi_callback_info info) {
  (void)info;
  return number(env, prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 ? -errno : 0);
}
