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

/* forwarding-frames.c */
struct division;
/* One direction of a connection of HTTP/2, as far as it has been passed on. */
struct frames {
  struct division *division;
  struct frames *back; /* the other direction */
  int is_down;
  /* Of DATA: what the receiver takes; what of his updates the sender must not hear of; and what the sender was not told of. */
  uint32_t window, debt, untold;
  uint8_t head[13];         /* of the next frame, with the first word of the payload of some */
  uint32_t head_length;
  uint32_t left, padding_left; /* of a frame's payload; and of padding behind it that is dropped */
  uint32_t own_settings;       /* as the division has it */
  uint32_t begun;              /* the largest number of a stream that the client has begun meanwhile */
  size_t looked_at;            /* of what waits, how much frames_updates has seen; 0: nothing */
  int is_dropped, has_resets; /* there are resets to be told */
};
/* What `frames_own` writes at most. */
enum { OWN_FRAMES_BYTES = 4096, FRAMES_MORE_BYTES = 16 };
/* Both directions of a connection, at the places where a division tells of them, which is theirs from now on. */
void frames_begin(struct frames *up, struct frames *down, struct division *division);
/* Writes what is said on our own account, if this is the place; returns its length. */
size_t frames_own(struct frames *f, uint8_t *out);
/* Reads `length` bytes, as far as *consumed, and writes what is passed on of them, which is at most FRAMES_MORE_BYTES more; returns how
 * much that is. It stops at DATA for which the receiver has no room. */
size_t frames_pass(struct frames *f, const uint8_t *in, size_t length, uint8_t *out, size_t *consumed);
/* Of what waits behind a frame for which there is no room, takes out updates of windows, and writes those that are passed on. */
size_t frames_updates(struct frames *f, uint8_t *in, size_t length, uint8_t *out, size_t room);
/* Something has changed since it stopped, or there is something to say. */
int frames_can_go_on(const struct frames *f, int is_waiting);

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
/* The same of HTTP/2 that is divided: first the output (up, down), then what the division says of the input, and what is behind it. */
void forward_divided(int client, int application, const struct flow *output, const struct flow *input,
                     struct division *division);
/* Returns when nothing is left, or after `most_ms`. Who listens does so until nobody has come for `quiet_ms`, and for `listen_ms` at most. */
void forward_until_over(int64_t quiet_ms, int64_t listen_ms, int64_t most_ms);
#endif
