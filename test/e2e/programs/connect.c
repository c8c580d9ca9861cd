/* connect HOST-ADDRESS PORT [udp]: prints "ok" or the errno's name; for udp, of a send and the receive after it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static const char *name(int e) {
  switch (e) {
    case 0: return "ok";
    case ECONNREFUSED: return "ECONNREFUSED";
    case ENETUNREACH: return "ENETUNREACH";
    case EHOSTUNREACH: return "EHOSTUNREACH";
    case ETIMEDOUT: return "ETIMEDOUT";
    case EACCES: return "EACCES";
    case EAGAIN: return "EAGAIN";
    default: return strerror(e);
  }
}

int main(int argc, char **argv) {
  struct sockaddr_in v4 = {.sin_family = AF_INET};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
  int is_v6 = argc > 2 && strchr(argv[1], ':') != NULL, is_udp = argc > 3;
  unsigned port = 0;
  if (argc < 3 || sscanf(argv[2], "%u", &port) != 1) return 64;
  v4.sin_port = v6.sin6_port = htons((unsigned short)port);
  if (is_v6 ? inet_pton(AF_INET6, argv[1], &v6.sin6_addr) != 1 : inet_pton(AF_INET, argv[1], &v4.sin_addr) != 1) return 64;
  int fd = socket(is_v6 ? AF_INET6 : AF_INET, is_udp ? SOCK_DGRAM : SOCK_STREAM, 0), syn_retries = 1;
  setsockopt(fd, IPPROTO_TCP, 7 /* TCP_SYNCNT */, &syn_retries, sizeof syn_retries);
  int bad = connect(fd, is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4, is_v6 ? sizeof v6 : sizeof v4);
  if (!bad && is_udp) {
    struct timeval limit = {.tv_sec = 5};
    char byte;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    bad = send(fd, "x", 1, 0) < 0 || recv(fd, &byte, 1, 0) < 0;
  }
  puts(bad ? name(errno) : "ok");
  return 0;
}
