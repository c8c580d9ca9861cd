/*
 * Questions to the kernel by netlink(7). One question has one answer (but for dumps, whose asker reads them itself), which is
 * there when the question was sent: nobody waits. The sockets are of this process' network namespace, and stay open.
 *
 * An answer to which nobody came, because its question went wrong half-way, is passed over by its number.
 */
#define _GNU_SOURCE
#include "netlink-question.h"

#include <errno.h>
#include <sys/socket.h>

int netlink_send(struct questions *to, struct nlmsghdr *question) {
  if (to->fd < 0) to->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, to->protocol);
  question->nlmsg_flags |= NLM_F_REQUEST;
  question->nlmsg_seq = ++to->asked;
  return to->fd < 0 || send(to->fd, question, question->nlmsg_len, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int netlink_ask(struct questions *to, struct nlmsghdr *question, const struct nlmsghdr **answer) {
  static uint8_t buffer[8192] __attribute__((aligned(NLMSG_ALIGNTO)));
  const struct nlmsghdr *head = (const void *)buffer;
  int failure = netlink_send(to, question);
  if (failure) return failure;
  do {
    ssize_t n;
    while ((n = recv(to->fd, buffer, sizeof buffer, MSG_DONTWAIT)) < 0 && errno == EINTR) {}
    if (n < 0) return -errno;
    if (!NLMSG_OK(head, (size_t)n)) return -EIO;
  } while (head->nlmsg_seq != to->asked);
  *answer = head;
  return 0;
}

int netlink_status(const struct nlmsghdr *answer) {
  if (answer->nlmsg_type != NLMSG_ERROR) return 1;
  return answer->nlmsg_len < NLMSG_LENGTH(sizeof(struct nlmsgerr)) ? -EIO : ((const struct nlmsgerr *)NLMSG_DATA(answer))->error;
}
