/* Questions to the kernel by netlink(7): see netlink-question.c. */
#ifndef MIRRORD_NETLINK_QUESTION_H
#define MIRRORD_NETLINK_QUESTION_H
#include <linux/netlink.h>
#include <stdint.h>

/* A socket for questions of one protocol: {.protocol = NETLINK_…, .fd = -1}. */
struct questions {
  int protocol, fd;
  uint32_t asked;
};

/* Sends a question. Returns 0 | -errno. */
int netlink_send(struct questions *to, struct nlmsghdr *question);
/* The same, and takes the one answer, which is valid until the next question. Returns 0 | -errno. */
int netlink_ask(struct questions *to, struct nlmsghdr *question, const struct nlmsghdr **answer);
/* What an answer says went wrong, as -errno, or 0 if it says that nothing did; 1 if it says something else. */
int netlink_status(const struct nlmsghdr *answer);
#endif
