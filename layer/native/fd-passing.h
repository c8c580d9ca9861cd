/* One message with at most MAX_FDS file descriptors over a unix(7) SOCK_SEQPACKET socket. */
#ifndef MIRRORD_FD_PASSING_H
#define MIRRORD_FD_PASSING_H
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* A message never exceeds this: well below the default socket buffer (net.core.wmem_default). */
#define MESSAGE_MAX (128 * 1024)
#define MAX_FDS 4

static inline ssize_t send_message(int socket, const void *data, size_t length, const int *fds, size_t count) {
  char control[CMSG_SPACE(MAX_FDS * sizeof(int))] = {0};
  struct iovec vector = {(void *)data, length};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  if (count) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(c), fds, count * sizeof(int));
  }
  return sendmsg(socket, &message, MSG_NOSIGNAL);
}

static inline ssize_t receive_message(int socket, void *data, size_t length, int *fds, size_t *count) {
  char control[CMSG_SPACE(MAX_FDS * sizeof(int))];
  struct iovec vector = {data, length};
  struct msghdr message = {.msg_iov = &vector,
                           .msg_iovlen = 1,
                           .msg_control = control,
                           .msg_controllen = sizeof control};
  ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  *count = 0;
  if (n < 0) return n;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    *count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(fds, CMSG_DATA(c), *count * sizeof(int));
  }
  return n;
}
#endif
