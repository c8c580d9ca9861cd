/*
 * One direction of a connection of HTTP/2 that programs had streams of (RFC 9113), in the process that stands by: what is the application's
 * passes as it is, without the streams that nobody answers any more. Sans-IO.
 *
 * Theory of operation. The agent has seen to it that nothing needs to be known but where frames begin (agent/intercept/http/h2/succession.ts):
 * header blocks refer to no table that the ends do not share. So a frame passes, or is dropped by its stream. Where a filter had
 * streams overtake each other, the application has other numbers than the client, since they must grow (streams.ts): those of the
 * streams that there are are known, and those that follow are larger by as much as the last one.
 *
 * What is left to do is flow control of the connection, as in way.ts: DATA that is dropped is given back to its sender; and what the
 * receiver got of programs is a debt, which his updates pay before the sender hears of them. What there is no room for meanwhile stops
 * its direction. But the room may come by an update that lies behind it, or behind what has stopped the other direction: so of what
 * waits, updates are taken out (frames_updates). Streams that are dropped are reset, in either direction between two frames.
 *
 * A client that was asked to do without a table of compression, and has not heard of it yet, compresses by one that the application
 * does not have. What it asks until then is refused: no one has looked at it, so that it can ask again (RFC 9113, section 8.7).
 */
#define _GNU_SOURCE
#include <string.h>

#include "passages.h"
#include "standby.h"

enum { DATA = 0, HEADERS = 1, PRIORITY = 2, RST_STREAM = 3, SETTINGS = 4, GOAWAY = 7, WINDOW_UPDATE = 8, PRIORITY_UPDATE = 16 };
enum { INTERNAL_ERROR = 2, REFUSED_STREAM = 7, CANCEL = 8 };
enum { END_STREAM = 1, ACK = 1, HEADER_BYTES = 9, WORD_BYTES = 4, LARGEST_NUMBER = 0x7fffffff };
/* The type of an update that was taken out, with the bit that is reserved. */
enum { TAKEN = 0xfe, RESERVED = 0x80 };
_Static_assert((MOST_STREAMS + 1) * (HEADER_BYTES + WORD_BYTES) <= OWN_FRAMES_BYTES, "own frames");

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
  write_head(at, WORD_BYTES, type, 0, stream);
  write_word(at + HEADER_BYTES, value);
  return HEADER_BYTES + WORD_BYTES;
}

struct head {
  uint32_t length, number;
  uint8_t type, flags;
  int is_taken;
};

static struct head read_head(const uint8_t *at) {
  return (struct head){.length = read_word(at) >> 8,
                       .number = read_word(at + 5) & LARGEST_NUMBER,
                       .type = at[3],
                       .flags = at[4],
                       .is_taken = at[3] == TAKEN && at[5] & RESERVED};
}

/* How much larger the application's numbers of new streams are. */
static uint32_t lead(const struct division *division) {
  return division->last_application > division->last_client ? division->last_application - division->last_client : 0;
}

/* What the division tells of a stream; NULL: nothing. */
static struct division_stream *find(const struct frames *f, uint32_t number) {
  struct division *division = f->division;
  for (uint32_t i = 0; number && i < division->stream_count && i < MOST_STREAMS; i++) {
    struct division_stream *stream = &division->streams[i];
    if ((f->is_down ? stream->application : stream->client) == number) return stream;
  }
  return NULL;
}

/* The number that a stream has at the other end; 0: it does not pass. Of the connection, which is 0, it is 0. */
static uint32_t number_there(const struct frames *f, uint32_t number) {
  const struct division *division = f->division;
  if (number % 2 == 0) return number; /* those that are pushed have one */
  const struct division_stream *stream = find(f, number);
  if (stream && !stream->is_passed) return 0;
  if (stream) return f->is_down ? stream->client : stream->application;
  if (number <= (f->is_down ? division->last_application : division->last_client))
    return division->is_renumbered ? 0 : number;
  return f->is_down ? number - lead(division) : (number + lead(division)) & LARGEST_NUMBER;
}

/* Whether a frame passes. What streams depend on is said by numbers, too, and matters little. */
static int is_passed(const struct frames *f, struct head head) {
  int is_priority = head.type == PRIORITY || head.type == PRIORITY_UPDATE;
  if (head.is_taken || (is_priority && f->division->is_renumbered)) return 0;
  return !head.number || number_there(f, head.number);
}

/* What is told of a stream whose window is ours to know; NULL: it is its ends' own. */
static struct division_stream *with_window(const struct frames *f, uint32_t number) {
  struct division_stream *stream = find(f, number);
  return stream && stream->is_passed && stream->window != NO_WINDOW ? stream : NULL;
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

void frames_begin(struct frames *up, struct frames *down, struct division *division) {
  *up = (struct frames){.division = division, .back = down};
  *down = (struct frames){.division = division, .back = up, .is_down = 1};
  up->own_settings = division->own_settings;
  up->has_resets = down->has_resets = 1;
  begin(up, &division->up);
  begin(down, &division->down);
}

/* Of what is written. */
static int is_between_frames(const struct frames *f) { return !f->left || f->is_dropped; }

size_t frames_own(struct frames *f, uint8_t *out) {
  size_t length = 0;
  if (!is_between_frames(f)) return 0;
  struct division *division = f->division;
  for (uint32_t i = 0; f->has_resets && i < division->stream_count && i < MOST_STREAMS; i++) {
    struct division_stream *stream = &division->streams[i];
    uint32_t *code = f->is_down ? &stream->tell_client : &stream->tell_application;
    uint32_t number = f->is_down ? stream->client : stream->application;
    if (*code != NO_RESET) length += write_short(out + length, RST_STREAM, number, *code);
    *code = NO_RESET;
  }
  f->has_resets = 0;
  if (f->back->untold) length += write_short(out + length, WINDOW_UPDATE, 0, f->back->untold);
  f->back->untold = 0;
  return length;
}

/* Whether the other end is to have another word at the beginning of the payload, or another frame. */
static int has_word(const struct frames *f, struct head head) {
  if (head.type == WINDOW_UPDATE) return head.length == WORD_BYTES;
  return head.type == GOAWAY && !head.number && f->is_down && f->division->is_renumbered && head.length >= WORD_BYTES;
}

/* The receiver takes more, of what goes the other way: of all, or of a stream. Returns how much of `out` is used. */
static size_t pass_update(struct frames *f, struct head head, uint32_t bytes, uint8_t *out) {
  struct division_stream *stream = f->is_down && head.number ? with_window(f, head.number) : NULL;
  uint32_t *window = stream ? &stream->window : &f->back->window, *debt = stream ? &stream->debt : &f->back->debt;
  if (!is_passed(f, head)) return 0;
  if (head.number && !stream) return write_short(out, WINDOW_UPDATE, number_there(f, head.number), bytes);
  uint32_t paid = least(bytes, *debt);
  *window += bytes;
  *debt -= paid;
  return bytes > paid ? write_short(out, WINDOW_UPDATE, number_there(f, head.number), bytes - paid) : 0;
}

/* The application says which stream is the last one that it looks at. What is before those that follow has an order of its own: all of
 * that may have been looked at. */
static size_t pass_end(struct frames *f, struct head head, uint32_t last, uint8_t *out) {
  const struct division *division = f->division;
  if (last <= division->last_application) last = division->last_client;
  else if (last < LARGEST_NUMBER) last -= lead(division);
  f->left = head.length - WORD_BYTES;
  f->is_dropped = 0;
  memcpy(out, f->head, HEADER_BYTES);
  write_word(out + HEADER_BYTES, last);
  return HEADER_BYTES + WORD_BYTES;
}

static size_t pass_word(struct frames *f, uint8_t *out) {
  struct head head = read_head(f->head);
  uint32_t word = read_word(f->head + HEADER_BYTES) & LARGEST_NUMBER;
  f->head_length = 0;
  return head.type == GOAWAY ? pass_end(f, head, word, out) : pass_update(f, head, word, out);
}

static int has_room(const struct frames *f) {
  struct head head = read_head(f->head);
  if (head.type != DATA || !is_passed(f, head)) return 1;
  const struct division_stream *stream = f->is_down ? NULL : with_window(f, head.number);
  return head.length <= f->window && (!stream || head.length <= stream->window);
}

/* The client says something that the application could not read: of a new stream, or behind a request. Returns whether there is room to
 * remember it. */
static int refuse(struct frames *f, uint32_t number) {
  struct division *division = f->division;
  struct division_stream *stream = find(f, number);
  int is_new = !stream && number > division->last_client && number > f->begun;
  if (!stream) {
    if (division->stream_count >= MOST_STREAMS) return 0;
    uint32_t there = is_new ? 0 : number_there(f, number);
    stream = &division->streams[division->stream_count++];
    *stream = (struct division_stream){number, there, PASSES, NO_RESET, NO_RESET, NO_WINDOW, 0};
  }
  if (stream->is_passed != IS_SILENT) {
    stream->tell_client = is_new ? REFUSED_STREAM : INTERNAL_ERROR;
    if (stream->application) stream->tell_application = CANCEL;
  }
  stream->is_passed = IS_SILENT;
  f->has_resets = f->back->has_resets = 1;
  return 1;
}

/* What is not the application's: acknowledgements of what we have set, and heads as long as one of those is missing. */
static int is_refused(struct frames *f, struct head head) {
  if (head.type == SETTINGS && head.flags & ACK) {
    int is_own = f->own_settings & 1;
    f->own_settings >>= 1;
    return is_own;
  }
  return head.type == HEADERS && f->own_settings && refuse(f, head.number);
}

/* The client begins a stream. */
static void note_begun(struct frames *f, uint32_t number) {
  struct division_stream *stream = find(f, number);
  if (stream) stream->is_passed = PASSES;
  else if (f->begun < number) f->begun = number;
}

/* Begins the frame whose head is there. Returns how much of `out` is used. */
static size_t begin_frame(struct frames *f, uint8_t *out) {
  struct head head = read_head(f->head);
  int is_ours = !f->is_down && is_refused(f, head);
  uint32_t there = number_there(f, head.number);
  f->is_dropped = is_ours || !is_passed(f, head);
  f->head_length = 0;
  f->left = head.length;
  f->looked_at = 0;
  if (f->is_dropped) {
    if (head.type == DATA) f->untold += head.length;
    return 0;
  }
  if (head.type == HEADERS && !f->is_down) note_begun(f, head.number);
  if (head.type == DATA) {
    struct division_stream *stream = f->is_down ? NULL : with_window(f, head.number);
    f->window -= head.length;
    if (stream) stream->window -= head.length;
  }
  memcpy(out, f->head, HEADER_BYTES);
  if (there != head.number) write_word(out + 5, there);
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
    } else if (f->head_length < HEADER_BYTES || (f->head_length < sizeof f->head && has_word(f, read_head(f->head)))) {
      if (at == length) break;
      f->head[f->head_length++] = in[at++];
    } else if (f->head_length > HEADER_BYTES) to += pass_word(f, out + to);
    else if (!has_room(f)) break;
    else to += begin_frame(f, out + to);
    drop_padding(f);
  }
  *consumed = at;
  return to;
}

/* Whether an update may overtake what waits: not the beginning of its stream. */
static int may_overtake(const struct frames *f, struct head head) {
  if (head.type != WINDOW_UPDATE || head.length != WORD_BYTES) return 0;
  if (f->is_down || head.number % 2 == 0) return 1;
  const struct division_stream *stream = find(f, head.number);
  if (stream) return stream->is_passed != PASSES_LATER;
  return head.number <= f->division->last_client || head.number <= f->begun;
}

size_t frames_updates(struct frames *f, uint8_t *in, size_t length, uint8_t *out, size_t room) {
  enum { SHORT_BYTES = HEADER_BYTES + WORD_BYTES };
  size_t to = 0, at = f->looked_at ? f->looked_at : read_head(f->head).length + f->padding_left;
  while (at + SHORT_BYTES <= length && to + SHORT_BYTES <= room) {
    struct head head = read_head(in + at);
    if (may_overtake(f, head)) {
      to += pass_update(f, head, read_word(in + at + HEADER_BYTES) & LARGEST_NUMBER, out + to);
      in[at + 3] = TAKEN;
      in[at + 5] |= RESERVED;
    }
    at += HEADER_BYTES + head.length;
  }
  f->looked_at = at;
  return to;
}

int frames_can_go_on(const struct frames *f, int is_waiting) {
  if (is_between_frames(f) && (f->back->untold || f->has_resets)) return 1;
  return is_waiting && (f->head_length < HEADER_BYTES || has_room(f));
}
