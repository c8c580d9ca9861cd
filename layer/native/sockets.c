/*
 * Sockets made inside the sandbox and used outside: a socket belongs to the network namespace that it
 * was made in for as long as it lives, whoever holds it. All are non-blocking.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launcher.h"

/* Fills a socket address. Returns its length, 0 if the address is none. */
static socklen_t parse_address(const char *address, const char *port, struct sockaddr_storage *storage) {
  struct sockaddr_in *v4 = (struct sockaddr_in *)storage;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)storage;
  memset(storage, 0, sizeof *storage);
  in_port_t number = htons((in_port_t)atoi(port));
  if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = number;
    return sizeof *v4;
  }
  if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = number;
    return sizeof *v6;
  }
  return 0;
}

/* listen tcp|udp ADDRESS PORT [transparent|dual]; dual: at ::, for IPv4 too */
int open_listener(char **args, int count, struct answer *a) {
  struct sockaddr_storage address;
  int one = 1, stream = !strcmp(args[0], "tcp"), transparent = count > 3 && !strcmp(args[3], "transparent");
  int dual = count > 3 && !strcmp(args[3], "dual");
  socklen_t length = parse_address(args[1], args[2], &address);
  if (!length) return errno = EINVAL, failed("inet_pton");
  int v6 = address.ss_family == AF_INET6;
  int fd = socket(address.ss_family, (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return failed("socket");
  int only = !dual;
  if (v6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
  /* Connections accepted for other ports must not keep the program from listening on those. */
  int bad = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (transparent) {
    bad = setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, &one, sizeof one);
    if (!bad && !stream)
      bad = setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_RECVORIGDSTADDR : IP_RECVORIGDSTADDR, &one,
                       sizeof one);
  }
  if (!bad) bad = bind(fd, (struct sockaddr *)&address, length);
  if (!bad && stream) bad = listen(fd, 4096);
  if (!bad) bad = getsockname(fd, (struct sockaddr *)&address, &length);
  if (bad) {
    int result = failed("bind");
    close(fd);
    return result;
  }
  unsigned port = ntohs(v6 ? ((struct sockaddr_in6 *)&address)->sin6_port : ((struct sockaddr_in *)&address)->sin_port);
  snprintf(a->text, sizeof a->text, "%u", port);
  a->fd = fd;
  return 0;
}

/* raw 4|6: a socket that sends whole IP packets, for answers from addresses that others may bind. */
int open_raw(char **args, struct answer *a) {
  int one = 1, v6 = args[0][0] == '6';
  int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
  if (fd < 0) return failed("socket");
  setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_HDRINCL : IP_HDRINCL, &one, sizeof one);
  a->fd = fd;
  return 0;
}

/* The errno of a connect that has failed already, 0 of one that hasn't. On `lo` all is known at once:
 * the answer to a SYN arrives before connect(2) returns. */
static int early_failure(int fd) {
  struct pollfd watched = {fd, POLLOUT, 0};
  int failure = 0;
  socklen_t length = sizeof failure;
  if (poll(&watched, 1, 0) > 0) getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length);
  return failure;
}

/* As insideMark in layer/localhost.ts. */
#define INSIDE_MARK 0x2000

/* connect tcp ADDRESS PORT: a connection, made or on its way, to a socket of the sandbox: its mark keeps it from
 * being handed over to the pod, and so from coming back. */
int open_connection(char **args, struct answer *a) {
  struct sockaddr_storage address;
  socklen_t length = parse_address(args[1], args[2], &address);
  if (!length || strcmp(args[0], "tcp")) return errno = EINVAL, failed("inet_pton");
  int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), mark = INSIDE_MARK;
  if (fd < 0) return failed("socket");
  setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark);
  int failure = connect(fd, (struct sockaddr *)&address, length) < 0 ? errno : 0;
  if (!failure || failure == EINPROGRESS) failure = early_failure(fd);
  if (failure) {
    close(fd);
    return errno = failure, failed("connect");
  }
  a->fd = fd;
  return 0;
}

/* diag: tells of the namespace's sockets (sock_diag(7)), at a small part of what /proc/net/tcp costs. */
int open_diagnostics(struct answer *a) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
  if (fd < 0) return failed("socket NETLINK_SOCK_DIAG");
  a->fd = fd;
  return 0;
}
