/* connect [tcp|patient|udp ADDRESS PORT]…: prints a line for each: "ok" or the errno's name; for udp, of a send and the
 * receive after it. tcp gives up after one retry, so that a timeout doesn't take minutes; patient does not. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static const char *name(int e) {
  switch (e) {
    case ECONNREFUSED: return "ECONNREFUSED";
    case ENETUNREACH: return "ENETUNREACH";
    case EHOSTUNREACH: return "EHOSTUNREACH";
    case ETIMEDOUT: return "ETIMEDOUT";
    case EACCES: return "EACCES";
    case EAGAIN: return "EAGAIN";
    default: return strerror(e);
  }
}

/* Returns 0 or an errno; -1 for an address that is none. */
static int try(const char *how, const char *address, const char *port) {
  struct sockaddr_in v4 = {.sin_family = AF_INET};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
  int is_v6 = strchr(address, ':') != NULL, is_udp = !strcmp(how, "udp");
  v4.sin_port = v6.sin6_port = htons((unsigned short)atoi(port));
  if (inet_pton(is_v6 ? AF_INET6 : AF_INET, address, is_v6 ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr) != 1)
    return -1;
  int fd = socket(is_v6 ? AF_INET6 : AF_INET, is_udp ? SOCK_DGRAM : SOCK_STREAM, 0), syn_retries = 1;
  struct timeval limit = {.tv_sec = 5};
  char byte;
  if (!strcmp(how, "tcp")) setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &syn_retries, sizeof syn_retries);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  int bad = is_v6 ? connect(fd, (struct sockaddr *)&v6, sizeof v6) : connect(fd, (struct sockaddr *)&v4, sizeof v4);
  if (!bad && is_udp) bad = send(fd, "x", 1, 0) < 0 || recv(fd, &byte, 1, 0) < 0;
  int result = bad ? errno : 0;
  close(fd);
  return result;
}

int main(int argc, char **argv) {
  for (int i = 1; i + 2 < argc; i += 3) {
    int result = try(argv[i], argv[i + 1], argv[i + 2]);
    if (result < 0) return 64;
    puts(result ? name(result) : "ok");
  }
  return 0;
}
