/*
 * Passing connections on, two by two, in the process that stands by (standby.c): bytes, ends and resets, both ways.
 *
 * Theory of operation. epoll tells of edges; whatever it tells of, both directions of the passage are pumped until nothing moves any more,
 * or others are to have their turn. A direction has nothing of its own but what its destination did not take: that is written first, and
 * only then something is read. Connections of HTTP/2 of which programs had streams pass frame by frame (forwarding-frames.c).
 */
#define _GNU_SOURCE
#include "standby.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "passages.h"

enum { PIECE_BYTES = 65536, ROUNDS = 16, EVENTS = 128 };
/* What may wait for room at the other end, frame by frame, of one direction and of all: above it a direction is not read. */
enum { WAITING_BYTES = 4194304, MOST_WAITING_BYTES = 67108864 };
/* How long it sleeps at most, ms. */
enum { SLEEP_MS = 10000 };

struct way {
  int from, to;
  struct flow flow;
  struct frames *frames; /* NULL: all passes */
  struct flow input;     /* what waits to be passed on, frame by frame */
  size_t more;           /* memory of that for what was read while it waits */
};

static struct {
  struct way (*ways)[2]; /* of each passage: up, down; from -1: it is over */
  int32_t *free_places, *ready, *turn; /* whose turn it is, and whose next */
  int32_t free_count, ready_count, open_count;
  uint8_t *is_ready;
  int epoll, listener; /* -1: nobody listens any more */
  void (*accept_from)(int listener);
  int64_t heard_at; /* when somebody came to the listener last */
  size_t more;      /* of all ways */
} own;

static int64_t now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

void *map(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

void reset(int fd) {
  struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  if (fd < 0) return;
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(fd);
}

void free_flow(struct flow *flow) {
  if (flow->bytes) munmap(flow->bytes, flow->size);
  *flow = (struct flow){.is_over = flow->is_over};
}

static void free_input(struct way *way) {
  free_flow(&way->input);
  own.more -= way->more;
  way->more = 0;
}

/* What both directions have, but for their connections. */
static void free_ways(struct way *ways) {
  for (int i = 0; i < 2; i++) {
    free_flow(&ways[i].flow);
    free_input(&ways[i]);
  }
  if (ways[0].frames) munmap(ways[0].frames, 2 * sizeof *ways[0].frames);
}

static void end_passage(int32_t place, int is_reset) {
  struct way *ways = own.ways[place];
  for (int i = 0; i < 2; i++) {
    if (is_reset) reset(ways[i].from);
    else close(ways[i].from);
  }
  free_ways(ways);
  ways[0].from = ways[1].from = -1;
  own.free_places[own.free_count++] = place;
  own.open_count--;
}

static void set_ready(int32_t place) {
  if (own.is_ready[place]) return;
  own.is_ready[place] = 1;
  own.ready[own.ready_count++] = place;
}

int begin_forwarding(void) {
  own.ways = map(MOST_PASSAGES * sizeof *own.ways);
  own.free_places = map(MOST_PASSAGES * sizeof *own.free_places);
  own.ready = map(MOST_PASSAGES * sizeof *own.ready);
  own.turn = map(MOST_PASSAGES * sizeof *own.turn);
  own.is_ready = map(MOST_PASSAGES);
  if (!own.ways || !own.free_places || !own.ready || !own.turn || !own.is_ready) return 0;
  for (int32_t at = MOST_PASSAGES; at-- > 0;) own.free_places[own.free_count++] = at;
  own.listener = -1;
  own.epoll = epoll_create1(EPOLL_CLOEXEC);
  return own.epoll >= 0;
}

void forward_from(int listener, void (*accept_from)(int listener)) {
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = MOST_PASSAGES};
  if (listener < 0 || epoll_ctl(own.epoll, EPOLL_CTL_ADD, listener, &event) < 0) return;
  own.listener = listener;
  own.accept_from = accept_from;
}

static void begin(struct way *up, struct way *down) {
  int client = up->from, application = down->from;
  int32_t place = own.free_count ? own.free_places[--own.free_count] : -1;
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u32 = (uint32_t)place};
  if (place < 0 || epoll_ctl(own.epoll, EPOLL_CTL_ADD, client, &event) < 0 ||
      epoll_ctl(own.epoll, EPOLL_CTL_ADD, application, &event) < 0) {
    if (place >= 0) own.free_places[own.free_count++] = place;
    free_ways((struct way[]){*up, *down});
    reset(client);
    reset(application);
    return;
  }
  own.ways[place][0] = *up;
  own.ways[place][1] = *down;
  own.open_count++;
  set_ready(place);
}

void forward(int client, int application, struct flow up, struct flow down) {
  begin(&(struct way){.from = client, .to = application, .flow = up},
        &(struct way){.from = application, .to = client, .flow = down});
}

void forward_divided(int client, int application, const struct flow *output, const struct flow *input,
                     struct division *division) {
  struct frames *frames = map(2 * sizeof *frames);
  struct way up = {.from = client, .to = application, .flow = output[0], .input = input[0], .frames = frames};
  struct way down = {.from = application, .to = client, .flow = output[1], .input = input[1], .frames = frames + 1};
  if (frames) {
    frames_begin(&frames[0], &frames[1], division);
    begin(&up, &down);
    return;
  }
  up.frames = NULL;
  free_ways((struct way[]){up, down});
  reset(client);
  reset(application);
}

static int is_busy(void) { return errno == EAGAIN || errno == EINTR || errno == ENOTCONN; }

/* Writes what waits. Returns 1 when nothing does any more, 0 when it is to wait, -1 when the connection is broken. */
static int flush(struct way *way) {
  struct flow *flow = &way->flow;
  while (flow->begin < flow->end) {
    ssize_t n = send(way->to, flow->bytes + flow->begin, flow->end - flow->begin, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) return is_busy() ? 0 : -1;
    flow->begin += (size_t)n;
  }
  if (flow->bytes) free_flow(flow);
  return 1;
}

/* Has bytes wait. Returns 0 where there is no memory for it. */
static int put(struct flow *flow, const uint8_t *bytes, size_t length) {
  if (!flow->bytes && !(flow->bytes = map(length))) return 0;
  flow->size = flow->end = length;
  flow->begin = 0;
  memcpy(flow->bytes, bytes, length);
  return 1;
}

static uint8_t piece[PIECE_BYTES];

/* Writes, and has the rest wait. Returns 0 if the connection is broken. */
static int write_out(struct way *way, const uint8_t *bytes, size_t length) {
  if (!length) return 1;
  ssize_t sent = send(way->to, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0 && !is_busy()) return 0;
  if (sent < 0) sent = 0;
  return (size_t)sent == length || put(&way->flow, bytes + sent, length - (size_t)sent);
}

/* Reads what is next of a way of frames, or what waits; returns as recv(2) does. */
static ssize_t next_input(struct way *way, const uint8_t **bytes) {
  struct flow *input = &way->input;
  *bytes = input->bytes ? input->bytes + input->begin : piece;
  if (input->bytes) return (ssize_t)(input->end - input->begin < PIECE_BYTES ? input->end - input->begin : PIECE_BYTES);
  return recv(way->from, piece, sizeof piece, MSG_DONTWAIT);
}

/* So much was passed on. Returns 0 where there is no memory for the rest. */
static int take_input(struct way *way, const uint8_t *bytes, size_t length, size_t consumed) {
  struct flow *input = &way->input;
  if (!input->bytes) return consumed == length || put(input, bytes + consumed, length - consumed);
  input->begin += consumed;
  if (input->begin == input->end) free_input(way);
  return 1;
}

static uint8_t out[OWN_FRAMES_BYTES + PIECE_BYTES + FRAMES_MORE_BYTES];

/* Reads what is behind that which waits. Returns as recv(2) does. */
static ssize_t read_more(struct way *way) {
  struct flow *input = &way->input;
  size_t waiting = input->end - input->begin, size = 2 * (waiting + sizeof piece);
  if (waiting >= WAITING_BYTES || own.more - way->more + size > MOST_WAITING_BYTES) {
    errno = EAGAIN;
    return -1;
  }
  ssize_t n = recv(way->from, piece, sizeof piece, MSG_DONTWAIT);
  if (n <= 0) return n;
  if (input->size - input->end < (size_t)n) {
    struct flow larger = {.bytes = map(size), .size = size, .end = waiting};
    if (!larger.bytes) return -1;
    memcpy(larger.bytes, input->bytes + input->begin, waiting);
    free_input(way);
    *input = larger;
    way->more = size;
    own.more += size;
  }
  memcpy(input->bytes + input->end, piece, (size_t)n);
  input->end += (size_t)n;
  return n;
}

/* There is no room for the frame that is next. Returns as `pass` does. */
static int wait_for_room(struct way *way) {
  struct flow *input = &way->input;
  for (;;) {
    size_t length = frames_updates(way->frames, input->bytes + input->begin, input->end - input->begin, out, sizeof out);
    if (!write_out(way, out, length)) return -1;
    if (way->flow.bytes) return 0;
    if (length) continue;
    ssize_t n = read_more(way);
    if (n <= 0) return n == 0 || is_busy() ? 0 : -1;
  }
}

/* The same as `pass`, frame by frame. */
static int pass_frames(struct way *way) {
  for (int round = 0; round < ROUNDS && !way->flow.is_over; round++) {
    int flushed = flush(way);
    if (flushed <= 0) return flushed;
    const uint8_t *bytes;
    size_t consumed = 0, length = frames_own(way->frames, out);
    ssize_t n = next_input(way, &bytes);
    if (n < 0 && !is_busy()) return -1;
    if (n > 0) length += frames_pass(way->frames, bytes, (size_t)n, out + length, &consumed);
    if (!write_out(way, out, length)) return -1;
    if (n == 0 && !way->flow.bytes) {
      shutdown(way->to, SHUT_WR);
      way->flow.is_over = 1;
    }
    if (n <= 0) return 0;
    if (!take_input(way, bytes, (size_t)n, consumed)) return -1;
    if (consumed < (size_t)n) return way->flow.bytes ? 0 : wait_for_room(way);
  }
  return !way->flow.is_over;
}

/* Passes one direction on. Returns 1 when there may be more, 0 when it is to wait or over, -1 when the connection is broken. */
static int pass(struct way *way) {
  if (way->frames) return pass_frames(way);
  for (int round = 0; round < ROUNDS && !way->flow.is_over; round++) {
    int flushed = flush(way);
    if (flushed <= 0) return flushed;
    ssize_t n = recv(way->from, piece, sizeof piece, MSG_DONTWAIT);
    if (n < 0) return is_busy() ? 0 : -1;
    if (n == 0) {
      shutdown(way->to, SHUT_WR);
      way->flow.is_over = 1;
      return 0;
    }
    if (!write_out(way, piece, (size_t)n)) return -1;
  }
  return !way->flow.is_over;
}

/* Without an event. Where something waits for the destination, there will be one. */
static int can_go_on(const struct way *way) {
  return way->frames && !way->flow.is_over && !way->flow.bytes && frames_can_go_on(way->frames, way->input.bytes != NULL);
}

static void go_on(int32_t place) {
  struct way *ways = own.ways[place];
  if (ways[0].from < 0) return;
  int up = pass(&ways[0]), down = up < 0 ? -1 : pass(&ways[1]);
  if (up < 0 || down < 0) end_passage(place, 1);
  else if (ways[0].flow.is_over && ways[1].flow.is_over) end_passage(place, 0);
  else if (up || down || can_go_on(&ways[0]) || can_go_on(&ways[1])) set_ready(place);
}

static void stop_listening(void) {
  if (own.listener >= 0) close(own.listener);
  own.listener = -1;
}

static void wait_for_events(int wait_ms) {
  struct epoll_event events[EVENTS];
  int count = epoll_wait(own.epoll, events, EVENTS, wait_ms);
  for (int i = 0; i < count; i++) {
    if (events[i].data.u32 < MOST_PASSAGES) set_ready((int32_t)events[i].data.u32);
    else if (own.listener >= 0) {
      own.accept_from(own.listener);
      own.heard_at = now_ms();
    }
  }
}

/* Those that have more to do have their next turn after the others'. */
static void take_turns(void) {
  int32_t *turn = own.ready, count = own.ready_count;
  own.ready = own.turn;
  own.turn = turn;
  own.ready_count = 0;
  for (int32_t i = 0; i < count; i++) {
    own.is_ready[turn[i]] = 0;
    go_on(turn[i]);
  }
}

static int64_t least(int64_t one, int64_t other) { return one < other ? one : other; }

void forward_until_over(int64_t quiet_ms, int64_t listen_ms, int64_t most_ms) {
  int64_t began = now_ms();
  own.heard_at = began;
  for (int64_t passed = 0; passed < most_ms; passed = now_ms() - began) {
    int64_t rest = least(listen_ms - passed, own.heard_at + quiet_ms - (began + passed));
    if (rest <= 0) stop_listening();
    if (own.listener < 0 && !own.open_count) return;
    if (own.listener < 0) rest = SLEEP_MS;
    wait_for_events(own.ready_count ? 0 : (int)rest);
    take_turns();
  }
}
