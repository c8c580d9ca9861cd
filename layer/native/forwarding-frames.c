/*
 * One direction of a connection of HTTP/2 that programs had streams of (RFC 9113), in the process that stands by: what is the application's
 * passes as it is, without the streams that nobody answers any more. Sans-IO.
 *
 * Theory of operation. The agent has seen to it that nothing needs to be known but where frames begin (agent/intercept/http/h2/succession.ts):
 * header blocks refer to no table that the ends do not share, and streams have one number for both. So a frame passes, or is dropped by
 * its stream. What is left to do is flow control of the connection, as in way.ts: DATA that is dropped is given back to its sender; and
 * what the receiver got of programs is a debt, which his updates pay before the sender hears of them. What there is no room for
 * meanwhile stops its direction. Streams that are dropped are reset, in either direction between two frames.
 */
#define _GNU_SOURCE
#include <string.h>

#include "passages.h"
#include "standby.h"

enum { DATA = 0, RST_STREAM = 3, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, HEADER_BYTES = 9, UPDATE_BYTES = 4 };
_Static_assert(MOST_STREAMS * (HEADER_BYTES + UPDATE_BYTES) + HEADER_BYTES + UPDATE_BYTES <= OWN_FRAMES_BYTES, "own frames");

static uint32_t read_word(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void write_word(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void write_head(uint8_t *at, uint32_t length, uint8_t type, uint8_t flags, uint32_t stream) {
  write_word(at, length << 8 | type);
  at[4] = flags;
  write_word(at + 5, stream);
}

/* A frame whose payload is one word. */
static size_t write_short(uint8_t *at, uint8_t type, uint32_t stream, uint32_t value) {
  write_head(at, UPDATE_BYTES, type, 0, stream);
  write_word(at + HEADER_BYTES, value);
  return HEADER_BYTES + UPDATE_BYTES;
}

static int is_silent(const struct division *division, uint32_t stream) {
  for (uint32_t i = 0; i < division->stream_count && i < MOST_STREAMS; i++)
    if (division->streams[i].id == stream) return 1;
  return 0;
}

static uint32_t least(uint32_t one, uint32_t other) { return one < other ? one : other; }

static void begin(struct frames *f, const struct division_way *way) {
  f->window = way->window;
  f->debt = way->debt;
  f->untold = way->untold;
  if (way->rest == REST_IS_A_FRAME) {
    write_head(f->head, way->data_left, DATA, way->is_last ? END_STREAM : 0, way->stream);
    f->head_length = HEADER_BYTES;
    f->padding_left = way->left - way->data_left;
  } else if (way->rest != BETWEEN_FRAMES) {
    f->left = way->left;
    f->is_dropped = way->rest == REST_IS_DROPPED;
    if (f->is_dropped) f->untold += way->left;
    else f->window -= least(way->left, f->window);
  }
}

void frames_begin(struct frames *up, struct frames *down, const struct division *division) {
  *up = (struct frames){.division = division, .back = down};
  *down = (struct frames){.division = division, .back = up, .is_down = 1};
  begin(up, &division->up);
  begin(down, &division->down);
}

static int is_between_frames(const struct frames *f) { return !f->head_length && !f->left && !f->padding_left; }

size_t frames_own(struct frames *f, uint8_t *out) {
  size_t length = 0;
  if (!is_between_frames(f)) return 0;
  const struct division *division = f->division;
  for (uint32_t i = 0; !f->has_reset && i < division->stream_count && i < MOST_STREAMS; i++) {
    const struct division_stream *stream = &division->streams[i];
    uint32_t code = f->is_down ? stream->tell_client : stream->tell_application;
    if (code != NO_RESET) length += write_short(out + length, RST_STREAM, stream->id, code);
  }
  f->has_reset = 1;
  if (f->back->untold) length += write_short(out + length, WINDOW_UPDATE, 0, f->back->untold);
  f->back->untold = 0;
  return length;
}

/* How much of the head has to be there. */
static uint32_t head_bytes(const struct frames *f) {
  int is_update = f->head_length >= HEADER_BYTES && f->head[3] == WINDOW_UPDATE && read_word(f->head) >> 8 == UPDATE_BYTES &&
                  !(read_word(f->head + 5) << 1);
  return is_update ? HEADER_BYTES + UPDATE_BYTES : HEADER_BYTES;
}

/* The receiver takes more, of what goes the other way. Returns how much of `out` is used. */
static size_t pass_update(struct frames *f, uint8_t *out) {
  struct frames *back = f->back;
  uint32_t bytes = read_word(f->head + HEADER_BYTES) & 0x7fffffff, paid = least(bytes, back->debt);
  f->head_length = 0;
  back->window += bytes;
  back->debt -= paid;
  return bytes > paid ? write_short(out, WINDOW_UPDATE, 0, bytes - paid) : 0;
}

static int has_room(const struct frames *f) {
  int is_data = f->head[3] == DATA && !is_silent(f->division, read_word(f->head + 5) & 0x7fffffff);
  return !is_data || read_word(f->head) >> 8 <= f->window;
}

/* Begins the frame whose head is there. Returns how much of `out` is used. */
static size_t begin_frame(struct frames *f, uint8_t *out) {
  uint32_t length = read_word(f->head) >> 8;
  int is_data = f->head[3] == DATA;
  f->head_length = 0;
  f->left = length;
  f->is_dropped = is_silent(f->division, read_word(f->head + 5) & 0x7fffffff);
  if (f->is_dropped) {
    if (is_data) f->untold += length;
    return 0;
  }
  if (is_data) f->window -= length;
  memcpy(out, f->head, HEADER_BYTES);
  return HEADER_BYTES;
}

/* Behind a frame that was one of ours, its padding. */
static void drop_padding(struct frames *f) {
  if (f->left || !f->padding_left || f->head_length) return;
  f->left = f->padding_left;
  f->untold += f->padding_left;
  f->padding_left = 0;
  f->is_dropped = 1;
}

size_t frames_pass(struct frames *f, const uint8_t *in, size_t length, uint8_t *out, size_t *consumed) {
  size_t at = 0, to = 0;
  for (;;) {
    if (f->left) {
      uint32_t count = least(f->left, (uint32_t)(length - at));
      if (!count) break;
      if (!f->is_dropped) memcpy(out + to, in + at, count);
      to += f->is_dropped ? 0 : count;
      at += count;
      f->left -= count;
    } else if (f->head_length < head_bytes(f)) {
      if (at == length) break;
      f->head[f->head_length++] = in[at++];
    } else if (head_bytes(f) > HEADER_BYTES) to += pass_update(f, out + to);
    else if (!has_room(f)) break;
    else to += begin_frame(f, out + to);
    drop_padding(f);
  }
  *consumed = at;
  return to;
}

int frames_can_go_on(const struct frames *f, int is_waiting) {
  if (is_between_frames(f) && f->back->untold) return 1;
  return is_waiting && (f->head_length < HEADER_BYTES || has_room(f));
}
