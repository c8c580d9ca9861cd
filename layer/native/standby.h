/* What the files of the process that stands by share: standby.c. It has no malloc. */
#ifndef MIRRORD_STANDBY_H
#define MIRRORD_STANDBY_H
#include <stddef.h>
#include <stdint.h>

/* What is to be written before anything else is read, in a mapping of its own. */
struct flow {
  uint8_t *bytes;
  size_t size, begin, end;
  int is_over;
};

/* standby-self.c: gives the memory of the process back that it was cloned from, and takes a name. */
void forget_memory(void);
void take_name(const char *name);

/* forwarding.c */
/* Memory of zeros; NULL: there is none. */
void *map(size_t size);
void free_flow(struct flow *flow);
void reset(int fd);
/* Returns 0 where there is no memory for it. */
int begin_forwarding(void);
/* Has a listener's connections accepted: `accept_from` is called when there are some. Once. */
void forward_from(int listener, void (*accept_from)(int listener));
/* Passes on what comes from either to the other, until both directions are over; first what waits for them. Both are its own from
 * now on, and so are the flows. */
void forward(int client, int application, struct flow up, struct flow down);
/* Returns when nothing is left, or after `most_ms`. Who listens does so for `listen_ms`. */
void forward_until_over(int64_t listen_ms, int64_t most_ms);
#endif
