/*
 * Runs a program in the namespaces of a process: the agent at its target, or whatever somebody wants to see from there.
 *
 *   launcher enter PID [--mount] [--keep-capabilities | --keep-network] [--die-with-parent] [--first] [--ping FD4 FD6]
 *                  [--listen PORT FD4 FD6] [--listen-at ADDRESS PORT FD] -- PROGRAM…
 *
 * Sockets that Node can't make, or that are to be of the namespaces we come from, it finds open under those numbers.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launcher.h"

/* Ping sockets for the agent (icmp(7)): made here because Node can't. Where the kernel won't (see
 * net.ipv4.ping_group_range), /dev/null takes the place, lest another file get the number. */
static void place_ping_socket(int family, int protocol, int wanted) {
  int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK, protocol);
  if (fd < 0) fd = open("/dev/null", O_RDWR);
  if (fd < 0 || fd == wanted) return;
  dup2(fd, wanted);
  close(fd);
}

/* Listens at a descriptor that PROGRAM inherits; /dev/null where it failed (a node without IPv6). */
static void place_listener(char *address, char *port, char *how, int wanted) {
  char *args[] = {"tcp", address, port, how};
  struct answer a = {"", -1};
  int result = open_listener(args, 4, &a);
  if (result < 0) {
    fprintf(stderr, "mirrord-launcher: listen at %s port %s: %s: %s\n", address, port, failed_call, strerror(-result));
    a.fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  }
  if (a.fd < 0) return;
  dup2(a.fd, wanted);
  if (a.fd != wanted) close(a.fd);
  else fcntl(a.fd, F_SETFD, 0);
}

/* --listen: for the agent in a cluster, which is reached in its own pod and works in another one. So this comes
 * before the namespaces are entered. Loopback only: nobody else in the cluster has any business there. */
static void place_listeners(char **args) {
  place_listener("127.0.0.1", args[0], "", atoi(args[1]));
  place_listener("::1", args[0], "", atoi(args[2]));
}

int enter(int argc, char **argv) {
  pid_t pid = atoi(argv[0]), parent = getppid();
  int mount = 0, keep = 0, network = 0, die = 0, first = 0, ping4 = -1, ping6 = -1, i = 1;
  int listeners[2] = {-1, -1};
  for (; i < argc && strcmp(argv[i], "--"); i++) {
    if (!strcmp(argv[i], "--mount")) mount = 1;
    else if (!strcmp(argv[i], "--keep-capabilities")) keep = 1;
    else if (!strcmp(argv[i], "--keep-network")) network = 1;
    else if (!strcmp(argv[i], "--die-with-parent")) die = 1;
    else if (!strcmp(argv[i], "--first")) first = 1;
    else if (!strcmp(argv[i], "--ping") && i + 2 < argc) ping4 = atoi(argv[i + 1]), ping6 = atoi(argv[i + 2]), i += 2;
    else if (!strcmp(argv[i], "--listen") && i + 3 < argc) {
      place_listeners(argv + i + 1);
      listeners[0] = atoi(argv[i + 2]), listeners[1] = atoi(argv[i + 3]);
      i += 3;
    }
    else if (!strcmp(argv[i], "--listen-at") && i + 3 < argc) {
      /* For others in the cluster, where somebody asks for it: the agent's metrics. */
      place_listener(argv[i + 1], argv[i + 2], "dual", atoi(argv[i + 3]));
      i += 3;
    }
  }
  if (i + 1 >= argc) return fprintf(stderr, "mirrord-launcher: enter: no program\n"), 64;
  int result = enter_namespaces(pid, mount);
  if (result < 0) {
    fprintf(stderr, "mirrord-launcher: enter %d: %s: %s\n", pid, failed_call, strerror(-result));
    return 65;
  }
  if (ping4 >= 0) place_ping_socket(AF_INET, IPPROTO_ICMP, ping4), place_ping_socket(AF_INET6, IPPROTO_ICMPV6, ping6);
  if (keep && set_capabilities(CAPABILITIES_KEEP) < 0) return perror("mirrord-launcher: capabilities"), 65;
  if (network) keep_network();
  if (die) {
    /* It has rules to remove. One that can't (it hangs, it is stopped) doesn't refresh them either. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) return 1;
  }
  if (first && become_first(listeners) < 0) return perror("mirrord-launcher: fork"), 65;
  execvp(argv[i + 1], argv + i + 1);
  fprintf(stderr, "mirrord-launcher: %s: %s\n", argv[i + 1], strerror(errno));
  return errno == ENOENT ? 127 : 126;
}
