/*
 * An epoll instance of our own for all sockets of the addon, which Node's loop polls as one descriptor.
 *
 * Theory of operation. libuv's handle for a descriptor (uv_poll_t) costs two calls of the kernel to be made, two to be closed, and
 * two whenever what is waited for changes; a proxy's connection that lives for one request lives with that twice. Here a
 * socket is told to epoll once. Streams are watched by edges (EPOLLET): who does not want to read just doesn't, and asks
 * epoll to look again when he does (EPOLL_CTL_MOD); what comes and is read costs no further look. What is ready in a turn is
 * dealt with socket by socket, and then the rest of the loop has its turn.
 *
 * JavaScript knows a socket by a number: a place in a table, and how often that was given away. So a call that
 * comes too late finds nothing, and so does an event of a description that somebody else has open still (epoll(7)).
 */
#define _GNU_SOURCE
#include "polling.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "uv-abi.h"

/* Places, and how often one is given away before its numbers repeat. */
enum { PLACE_BITS = 20, MOST_PLACES = 1 << PLACE_BITS, GENERATIONS = 1 << (31 - PLACE_BITS) };
/* What is dealt with before others have their turn. */
enum { MOST_EVENTS = 128 };

struct place {
  struct polled *socket; /* NULL: free */
  int32_t generation, next_free;
};

static struct {
  int epoll;
  uv_poll_t *poll;
  void (*after_turn)(void);
  struct place *places; /* the first is nobody's: 0 is no id */
  int32_t used, room, free;
  int kept, is_in_turn;
  struct polled *closed;
} polling;

static void free_closed(void) {
  while (polling.closed) {
    struct polled *p = polling.closed;
    polling.closed = p->next_closed;
    free(p);
  }
}

static struct polled *find(int32_t id) {
  int32_t place = id & (MOST_PLACES - 1);
  if (id <= 0 || place >= polling.used) return NULL;
  struct polled *p = polling.places[place].socket;
  return p && p->id == id ? p : NULL;
}

static void on_polled(uv_poll_t *poll, int status, int events) {
  struct epoll_event found[MOST_EVENTS];
  (void)poll, (void)status, (void)events;
  int count = epoll_wait(polling.epoll, found, MOST_EVENTS, 0);
  polling.is_in_turn = 1;
  for (int i = 0; i < count; i++) {
    struct polled *p = find((int32_t)found[i].data.u32);
    if (p) p->on_ready(p, found[i].events);
  }
  polling.after_turn();
  polling.is_in_turn = 0;
  free_closed();
}

int polling_start(napi_env env, void (*after_turn)(void)) {
  uv_loop_t *loop;
  polling.epoll = epoll_create1(EPOLL_CLOEXEC);
  if (polling.epoll < 0) return -errno;
  polling.poll = calloc(1, uv_handle_size(UV_POLL_HANDLE_TYPE));
  int failure = polling.poll && napi_get_uv_event_loop(env, &loop) == napi_ok ? 0 : -ENOMEM;
  if (!failure) failure = uv_poll_init(loop, polling.poll, polling.epoll);
  if (failure) {
    close(polling.epoll);
    free(polling.poll);
    return failure;
  }
  polling.after_turn = after_turn;
  uv_poll_start(polling.poll, UV_READABLE_EVENT, on_polled);
  uv_unref((uv_handle_t *)polling.poll);
  return 0;
}

/* A free place; 0: there is none. */
static int32_t take_place(void) {
  int32_t place = polling.free;
  if (place) {
    polling.free = polling.places[place].next_free;
    return place;
  }
  if (polling.used == MOST_PLACES) return 0;
  if (polling.used >= polling.room) {
    int32_t room = polling.room ? 2 * polling.room : 64;
    struct place *more = realloc(polling.places, (size_t)room * sizeof *more);
    if (!more) return 0;
    polling.places = more;
    polling.room = room;
  }
  if (!polling.used) polling.used = 1;
  polling.places[polling.used] = (struct place){0};
  return polling.used++;
}

int polled_open(struct polled *p, enum kind kind, int fd, void (*on_ready)(struct polled *, uint32_t)) {
  int32_t at = take_place();
  if (!at) return -ENOMEM;
  struct place *place = &polling.places[at];
  place->generation = (place->generation + 1) % GENERATIONS;
  place->socket = p;
  p->kind = kind;
  p->fd = fd;
  p->on_ready = on_ready;
  p->id = place->generation << PLACE_BITS | at;
  return 0;
}

void *polled_find(int32_t id, enum kind kind) {
  struct polled *p = find(id);
  return p && p->kind == kind ? p : NULL;
}

int polled_watch(struct polled *p, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u32 = (uint32_t)p->id};
  int operation = p->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (epoll_ctl(polling.epoll, operation, p->fd, &event) < 0) return -errno;
  p->events = events;
  return 0;
}

void polled_keep(struct polled *p, int is_kept) {
  if (p->is_kept == !!is_kept) return;
  p->is_kept = !!is_kept;
  int before = polling.kept;
  polling.kept += is_kept ? 1 : -1;
  if (!before) uv_ref((uv_handle_t *)polling.poll);
  else if (!polling.kept) uv_unref((uv_handle_t *)polling.poll);
}

void polled_close(struct polled *p) {
  struct place *place = &polling.places[p->id & (MOST_PLACES - 1)];
  polled_keep(p, 0);
  /* A description that somebody else has open would be watched on. */
  if (p->events) epoll_ctl(polling.epoll, EPOLL_CTL_DEL, p->fd, NULL);
  close(p->fd);
  p->fd = -1;
  place->socket = NULL;
  place->next_free = polling.free;
  polling.free = p->id & (MOST_PLACES - 1);
  p->next_closed = polling.closed;
  polling.closed = p;
  if (!polling.is_in_turn) free_closed();
}
