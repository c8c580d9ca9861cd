/* What the files of the socket addon watch: polling.c. */
#ifndef MIRRORD_POLLING_H
#define MIRRORD_POLLING_H
#include <node_api.h>
#include <stdint.h>
#include <stdlib.h>

enum kind { STREAM, LISTENER, DATAGRAM_SOCKET };

/* A socket: the head of what each kind has of its own, in memory of calloc(3). Closed, it is there until the turn's end. */
struct polled {
  enum kind kind;
  int fd;          /* -1: it is closed */
  int32_t id;      /* by which JavaScript knows it; > 0 */
  uint32_t events; /* EPOLL…, which epoll was told; 0: none yet */
  int is_kept;     /* it keeps the loop from ending */
  void (*on_ready)(struct polled *p, uint32_t events);
  struct polled *next_closed;
};

/* Once. `after_turn` is called when all that was ready has been told. Returns 0 or a negative errno. */
int polling_start(napi_env env, void (*after_turn)(void));

/* Names a new socket; -ENOMEM when there are too many. The caller frees what failed. */
int polled_open(struct polled *p, enum kind kind, int fd, void (*on_ready)(struct polled *, uint32_t));
/* The open socket of an id; NULL if there is none of that kind. */
void *polled_find(int32_t id, enum kind kind);
/* Has epoll look now, and from now on, for these EPOLL… events. Returns 0 or a negative errno. */
int polled_watch(struct polled *p, uint32_t events);
/* Whether somebody waits for it: the loop goes on for as long as somebody waits for any. */
void polled_keep(struct polled *p, int is_kept);
/* Closes the descriptor, and frees the socket when nobody can look at it any more. */
void polled_close(struct polled *p);
#endif
