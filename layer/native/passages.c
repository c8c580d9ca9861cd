/*
 * An account of what passes through this process, for the process that goes on with it when we are killed (standby.c).
 *
 * Theory of operation. A passage is a client's connection and one to the application, and what is read of either is written to
 * the other as it is. Killed at any moment, we leave bytes that were read of one and not written to the other. How many these
 * are is nothing that we need to note: the kernel knows what was read of a connection and what it has taken to be written
 * (TCP_INFO, SIOCINQ, SIOCOUTQ), up to the system call in which we died. What we note is which bytes they are, in memory that
 * is shared with that other process:
 *
 *   - what was read for the delivery that goes on is where it was read to, since all sockets read into such memory; of that the
 *     place is noted before it is read, so that it is known even if nothing else comes after;
 *   - what is left of it afterwards (half a head, a receiver who is slow) is copied into chunks.
 *
 * So what passes in one go, which is nearly everything, costs some stores.
 *
 * Not all is passed as it is. An answer's head may get another line: of that it is noted where it ends, and how many bytes it is
 * longer; killed in the middle of its being written, the connection is lost. A request that goes somewhere else makes the passage
 * HELD, until an answer was written and nothing else is under way: then JavaScript says from which places on both directions are what
 * they were (settle). Of such nothing is kept meanwhile. A connection of HTTP/2 of which programs have streams settles whenever all
 * that was said is written, with what has to be known to go on without those streams (forwarding-frames.c).
 *
 * Places are 64 bits and begin with 0 for each socket. Nothing here allocates: when chunks are used up, bytes go missing, which whoever
 * takes over notices, and resets that connection.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include "passages.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "napi-arguments.h"
#include "socket.h"

struct estate *estate;

/* Connections and bytes for which there was no room. */
static uint64_t refused_passages, refused_bytes;

static uint64_t place_argument(napi_env env, napi_value value) {
  int64_t result = 0;
  napi_get_value_int64(env, value, &result);
  return (uint64_t)result;
}

/* include/net/tcp_states.h */
enum { SYN_SENT = 2, FIN_WAIT1 = 4, FIN_WAIT2, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING = 11 };

static int has_received_fin(int state) {
  return state == CLOSE_WAIT || state == LAST_ACK || state == CLOSING || state == TIME_WAIT;
}

static int has_sent_fin(int state) {
  return state == FIN_WAIT1 || state == FIN_WAIT2 || state == CLOSING || state == LAST_ACK || state == TIME_WAIT;
}

int passage_counts(int fd, uint64_t *read, uint64_t *written) {
  struct tcp_info info = {0};
  socklen_t size = sizeof info;
  int in = 0, out = 0;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0 || size < offsetof(struct tcp_info, tcpi_segs_out))
    return 0;
  if (ioctl(fd, SIOCINQ, &in) < 0 || ioctl(fd, SIOCOUTQ, &out) < 0) return 0;
  /* A FIN counts as a byte (net/ipv4/tcp_input.c, tcp_rcv_nxt_update; tcp_output.c, tcp_send_fin), and so does a SYN that was
   * acknowledged: of one that is on its way it will. SIOCINQ leaves a FIN out. */
  *read = info.tcpi_bytes_received - (uint64_t)has_received_fin(info.tcpi_state) - (uint64_t)in;
  *written = info.tcpi_bytes_acked + (uint64_t)out + (info.tcpi_state == SYN_SENT) -
             (uint64_t)has_sent_fin(info.tcpi_state);
  return 1;
}

uint64_t passage_place(const struct direction *d, int has_destination, uint64_t written, int *is_unknown) {
  *is_unknown = has_destination && (d->is_moving || written < d->out);
  if (!has_destination || *is_unknown) return d->start;
  uint64_t place = d->start + (written - d->out);
  for (int32_t i = 0; i < d->change_count; i++) {
    const struct change *change = &d->changes[i];
    if (written <= change->begin) break;
    if (written < change->end) *is_unknown = 1;
    place -= (uint64_t)(int64_t)change->more;
  }
  return place;
}

/* How many changes are written as a whole. */
static int32_t past_changes(const struct direction *d, uint64_t written) {
  int32_t count = 0;
  while (count < d->change_count && written >= d->changes[count].end) count++;
  return count;
}

/* ---- chunks ---- */

static const struct list NO_CHUNKS = {-1, -1};

/* Frees those with nothing from `place` on. */
static void forget_chunks(struct list *list, uint64_t place) {
  while (list->first >= 0) {
    const struct chunk *chunk = &estate->chunks[list->first];
    if (chunk->from + chunk->length > place) return;
    int32_t at = list->first;
    list->first = estate->next_chunk[at];
    estate->next_chunk[at] = estate->free_chunk;
    estate->free_chunk = at;
  }
  list->last = -1;
}

static void forget_all(struct direction *d) {
  forget_chunks(&d->unwritten, UINT64_MAX);
  forget_chunks(&d->pending, UINT64_MAX);
}

static struct chunk *new_chunk(struct list *list, uint64_t from) {
  int32_t at = estate->free_chunk;
  if (at < 0) return NULL;
  estate->free_chunk = estate->next_chunk[at];
  estate->next_chunk[at] = -1;
  estate->chunks[at].from = from;
  estate->chunks[at].length = 0;
  atomic_signal_fence(memory_order_seq_cst);
  if (list->first < 0) list->first = at;
  else estate->next_chunk[list->last] = at;
  list->last = at;
  return &estate->chunks[at];
}

/* Where what is kept ends; 0: nothing is. */
static uint64_t end_of(const struct list *list) {
  return list->first < 0 ? 0 : estate->chunks[list->last].from + estate->chunks[list->last].length;
}

/* Returns 0 when chunks are used up. */
static int keep(struct list *list, uint64_t from, const uint8_t *bytes, size_t length) {
  while (length) {
    struct chunk *last = list->first < 0 ? NULL : &estate->chunks[list->last];
    if (!last || last->from + last->length != from || last->length == sizeof last->bytes) last = new_chunk(list, from);
    if (!last) {
      refused_bytes += length;
      return 0;
    }
    size_t room = sizeof last->bytes - last->length, count = length < room ? length : room;
    memcpy(last->bytes + last->length, bytes, count);
    atomic_signal_fence(memory_order_seq_cst);
    last->length += count;
    bytes += count;
    from += count;
    length -= count;
  }
  return 1;
}

/* ---- what sockets tell ---- */

/* How far a direction is written; 1 in *is_unknown where only the kernel could tell. What was changed and is written is past. */
static uint64_t place_now(struct passage *p, struct direction *d, int *is_unknown) {
  const struct side *to = d == &p->up ? &p->application : &p->client;
  if (p->is_divided) {
    *is_unknown = 0;
    return d->start;
  }
  uint64_t place = passage_place(d, to->fd >= 0, to->written, is_unknown);
  int32_t past = *is_unknown ? 0 : past_changes(d, to->written);
  if (!past) return place;
  d->is_moving = 1;
  atomic_signal_fence(memory_order_seq_cst);
  d->start = place;
  d->out = to->written;
  d->change_count -= past;
  memmove(d->changes, d->changes + past, (size_t)d->change_count * sizeof *d->changes);
  atomic_signal_fence(memory_order_seq_cst);
  d->is_moving = 0;
  return place;
}

void seat_delivered(const struct seat *seat, const uint8_t *bytes) {
  struct passage *p = seat->passage;
  struct side *side = seat->side;
  if (!side) return;
  struct direction *d = side == &p->client ? &p->up : &p->down;
  uint64_t end = side->from + side->length;
  if (p->state == HELD) forget_chunks(&d->unwritten, UINT64_MAX);
  else {
    int is_unknown;
    uint64_t place = place_now(p, d, &is_unknown);
    /* In the middle of something else all of it may still be needed. */
    uint64_t needed = is_unknown || place < side->from ? side->from : place;
    if (!is_unknown) forget_chunks(&d->unwritten, place);
    /* Some of it may be kept already (dividePassage). */
    uint64_t kept = end_of(&d->unwritten);
    if (needed < kept) needed = kept;
    if (needed < end) keep(&d->unwritten, needed, bytes + side->at + (needed - side->from), (size_t)(end - needed));
  }
  atomic_signal_fence(memory_order_seq_cst);
  side->read = end;
  atomic_signal_fence(memory_order_seq_cst);
  side->is_live = 0;
}

void seat_wrote(const struct seat *seat, size_t count) {
  struct passage *p = seat->passage;
  struct side *side = seat->side;
  if (!side) return;
  struct direction *d = side == &p->client ? &p->down : &p->up;
  int is_unknown;
  side->written += count;
  uint64_t place = place_now(p, d, &is_unknown);
  if (!is_unknown && d->unwritten.first >= 0) forget_chunks(&d->unwritten, place);
  if (d->pending.first >= 0) forget_chunks(&d->pending, side->written);
}

/* ---- passages ---- */

/* Of each passage, the application's seat. */
static struct seat *application_seats[MOST_PASSAGES];
static int32_t free_passages[MOST_PASSAGES], free_count;
/* Those behind were never used: nobody is to touch their memory. */
static int32_t ever_used;

static void begin_side(struct side *side, int fd) {
  *side = (struct side){.fd = fd};
  if (!passage_counts(fd, &side->received, &side->acknowledged)) side->fd = -1;
}

static struct direction nothing_yet(void) {
  return (struct direction){.unwritten = NO_CHUNKS, .pending = NO_CHUNKS};
}

void seat_closes(struct seat *seat) {
  struct passage *p = seat->passage;
  if (!p) return;
  int is_client = seat->side == &p->client;
  seat->side->fd = -1;
  *seat = (struct seat){0};
  size_t at = (size_t)(p - estate->passages);
  if (!is_client) {
    application_seats[at] = NULL;
    return;
  }
  p->is_used = 0;
  atomic_signal_fence(memory_order_seq_cst);
  if (application_seats[at]) *application_seats[at] = (struct seat){0};
  application_seats[at] = NULL;
  forget_all(&p->up);
  forget_all(&p->down);
  free_passages[free_count++] = (int32_t)at;
}

/* sharedMemory(length) -> ArrayBuffer | -errno: memory that outlives us in the process that stands by. */
static napi_value shared_memory(napi_env env, napi_callback_info info) {
  napi_value args[1], result;
  arguments(env, info, args, 1);
  size_t length = (size_t)int_argument(env, args[0]);
  void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return number(env, -errno);
  if (napi_create_external_arraybuffer(env, memory, length, NULL, NULL, &result) != napi_ok) return number(env, -ENOTSUP);
  return result;
}

/* openPassages() -> 0 | -errno: once; without it there are none. */
static napi_value open_passages(napi_env env, napi_callback_info info) {
  (void)info;
  if (estate) return number(env, 0);
  struct estate *made =
      mmap(NULL, sizeof *made, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (made == MAP_FAILED) return number(env, -errno);
  /* Chunks that are free, each of which is touched when it is first used. */
  for (int32_t at = 0; at < MOST_CHUNKS; at++) made->next_chunk[at] = at + 1 < MOST_CHUNKS ? at + 1 : -1;
  for (int32_t at = MOST_PASSAGES; at-- > 0;) free_passages[free_count++] = at;
  estate = made;
  return number(env, 0);
}

/* enterPassage(handle, destination, source) -> 0 | -errno: a client's connection, of which nothing was read or written; where it was
 * going; and the address that a connection to there comes from, or nothing. */
static napi_value enter_passage(napi_env env, napi_callback_info info) {
  napi_value args[3];
  int fd;
  size_t to_length, from_length;
  arguments(env, info, args, 3);
  struct seat *seat = seat_argument(env, args[0], &fd);
  uint8_t *to = bytes_argument(env, args[1], &to_length), *from = bytes_argument(env, args[2], &from_length);
  if (!estate || !seat || seat->passage || !to) return number(env, -EINVAL);
  if (!free_count) {
    refused_passages++;
    return number(env, -ENOSPC);
  }
  int32_t at = free_passages[free_count - 1];
  struct passage *p = &estate->passages[at];
  if (ever_used <= at) ever_used = at + 1;
  memset(p, 0, offsetof(struct passage, divisions));
  p->application.fd = -1;
  p->up = p->down = nothing_yet();
  p->destination_length = endpoint_to_sockaddr(&p->destination, to, to_length);
  p->source_length = from && from_length ? endpoint_to_sockaddr(&p->source, from, from_length) : 0;
  begin_side(&p->client, fd);
  if (p->client.fd < 0 || !p->destination_length) return number(env, -EINVAL);
  free_count--;
  *seat = (struct seat){p, &p->client};
  atomic_signal_fence(memory_order_seq_cst);
  p->is_used = 1;
  return number(env, 0);
}

/* joinPassage(client, application, written) -> 0 | -errno: the connection to the application that it goes on by, of which nothing was
 * read or written; what JavaScript has given the client's to write so far. */
static napi_value join_passage(napi_env env, napi_callback_info info) {
  napi_value args[3];
  int client_fd, fd, is_unknown;
  arguments(env, info, args, 3);
  struct seat *client = seat_argument(env, args[0], &client_fd), *application = seat_argument(env, args[1], &fd);
  if (!client || !application || !client->passage || application->passage) return number(env, -EINVAL);
  struct passage *p = client->passage;
  size_t at = (size_t)(p - estate->passages);
  uint64_t place = place_now(p, &p->up, &is_unknown);
  if (is_unknown) p->state = HELD;
  if (application_seats[at]) seat_closes(application_seats[at]);
  forget_all(&p->down);
  p->down = nothing_yet();
  p->down.out = (uint64_t)place_argument(env, args[2]);
  p->up.start = place;
  p->up.out = 0;
  p->up.change_count = 0;
  struct side side;
  begin_side(&side, fd);
  if (side.fd < 0) p->state = HELD;
  side.fd = -1;
  *application = (struct seat){p, &p->application};
  application_seats[at] = application;
  p->application = side;
  atomic_signal_fence(memory_order_seq_cst);
  p->application.fd = fd; /* from here on it counts */
  return number(env, 0);
}

/* holdPassage(client): what goes on is something else. */
static napi_value hold_passage(napi_env env, napi_callback_info info) {
  napi_value args[1];
  int fd;
  arguments(env, info, args, 1);
  struct seat *seat = seat_argument(env, args[0], &fd);
  if (seat && seat->passage) seat->passage->state = HELD;
  return number(env, 0);
}

/* settlePassage(client, read, written, applicationRead, applicationWritten): both directions pass as they are from here on: what
 * JavaScript was told that was read, and has given to be written, of either connection. */
static napi_value settle_passage(napi_env env, napi_callback_info info) {
  napi_value args[5];
  int fd;
  arguments(env, info, args, 5);
  struct seat *seat = seat_argument(env, args[0], &fd);
  struct passage *p = seat ? seat->passage : NULL;
  if (!p) return number(env, 0);
  forget_all(&p->up);
  forget_all(&p->down);
  p->up = p->down = nothing_yet();
  p->up.start = place_argument(env, args[1]);
  p->down.out = place_argument(env, args[2]);
  p->down.start = place_argument(env, args[3]);
  p->up.out = place_argument(env, args[4]);
  atomic_signal_fence(memory_order_seq_cst);
  p->state = PASSING;
  return number(env, 0);
}

/* Keeps these pieces, which end at a place. Returns 0 when chunks are used up. */
static int keep_pieces(napi_env env, napi_value pieces, struct list *list, uint64_t end) {
  uint32_t count = 0;
  uint64_t place = end;
  napi_get_array_length(env, pieces, &count);
  for (int is_measured = 0; is_measured < 2; is_measured++) {
    for (uint32_t i = 0; i < count; i++) {
      napi_value piece;
      size_t length;
      uint8_t *bytes = napi_get_element(env, pieces, i, &piece) == napi_ok ? bytes_argument(env, piece, &length) : NULL;
      if (!bytes) continue;
      if (!is_measured && length > place) return 0;
      if (!is_measured) place -= length;
      else if (!keep(list, place, bytes, length)) return 0;
      else place += length;
    }
  }
  return 1;
}

/* Where both directions of a connection that is divided are. */
struct places {
  uint64_t start[2], out[2]; /* up, down */
  struct list unwritten[2], pending[2];
};

static void set_places(struct direction *d, const struct places *places, int at) {
  d->start = places->start[at];
  d->out = places->out[at];
  d->change_count = 0;
  d->unwritten = places->unwritten[at];
  d->pending = places->pending[at];
}

/* dividePassage(client, read, written, applicationRead, applicationWritten, division, up, down, pendingUp, pendingDown) -> 0 | -errno: of a
 * connection of HTTP/2 that is divided: what of either connection was read, and is given to be written; what whoever goes on has to know
 * from there; as arrays of pieces, what of that was read and is not dealt with, and what the kernel may not have taken.
 * Whenever we are killed, either all of this is noted or nothing. */
static napi_value divide_passage(napi_env env, napi_callback_info info) {
  napi_value args[10];
  int fd;
  size_t length;
  arguments(env, info, args, 10);
  struct seat *seat = seat_argument(env, args[0], &fd);
  struct passage *p = seat ? seat->passage : NULL;
  const struct division *division = (const void *)bytes_argument(env, args[5], &length);
  size_t used = offsetof(struct division, streams);
  if (!p || !division || length > sizeof *division || length < used) return number(env, -EINVAL);
  used += division->stream_count * sizeof *division->streams;
  if (division->stream_count > MOST_STREAMS || used > length) return number(env, -EINVAL);
  uint64_t read[] = {place_argument(env, args[1]), place_argument(env, args[3])};
  struct places next = {.out = {place_argument(env, args[4]), place_argument(env, args[2])}};
  int is_kept = 1;
  for (int i = 0; i < 2; i++) {
    next.unwritten[i] = next.pending[i] = NO_CHUNKS;
    is_kept &= keep_pieces(env, args[6 + i], &next.unwritten[i], read[i]);
    is_kept &= keep_pieces(env, args[8 + i], &next.pending[i], next.out[i]);
    next.start[i] = next.unwritten[i].first < 0 ? read[i] : estate->chunks[next.unwritten[i].first].from;
  }
  int32_t number_of_next = p->is_divided == 1 ? 2 : 1;
  memcpy(&p->divisions[number_of_next - 1], division, used);
  struct direction up = p->up, down = p->down;
  if (is_kept) {
    atomic_signal_fence(memory_order_seq_cst);
    p->state = HELD;
    atomic_signal_fence(memory_order_seq_cst);
    set_places(&p->up, &next, 0);
    set_places(&p->down, &next, 1);
    p->is_divided = number_of_next;
    atomic_signal_fence(memory_order_seq_cst);
    p->state = PASSING;
    forget_all(&up);
    forget_all(&down);
    return number(env, 0);
  }
  p->state = HELD;
  for (int i = 0; i < 2; i++) {
    forget_chunks(&next.unwritten[i], UINT64_MAX);
    forget_chunks(&next.pending[i], UINT64_MAX);
  }
  return number(env, -ENOSPC);
}

/* changePassage(client, place, length, more) -> 1 if it is held because of that: of what JavaScript gives the client to be written, the
 * `length` bytes from `place` on are `more` longer than what they stand for. */
static napi_value change_passage(napi_env env, napi_callback_info info) {
  napi_value args[4];
  int fd, is_unknown;
  arguments(env, info, args, 4);
  struct seat *seat = seat_argument(env, args[0], &fd);
  struct passage *p = seat ? seat->passage : NULL;
  if (!p || p->state == HELD || p->is_divided) return number(env, 0);
  struct direction *d = &p->down;
  place_now(p, d, &is_unknown);
  /* A receiver who is that far behind: of more there is no account. */
  if (d->change_count == MOST_CHANGES) {
    p->state = HELD;
    return number(env, 1);
  }
  struct change *change = &d->changes[d->change_count];
  change->begin = place_argument(env, args[1]);
  change->end = change->begin + (uint64_t)int_argument(env, args[2]);
  change->more = int_argument(env, args[3]);
  atomic_signal_fence(memory_order_seq_cst);
  d->change_count++;
  return number(env, 0);
}

/* passageCounts(counts): connections that would go on; those that would not; bytes that are kept for that; and how many of either
 * found no room so far. As five numbers; all 0 where there is no account. */
static napi_value passage_counts_of_all(napi_env env, napi_callback_info info) {
  napi_value args[1];
  size_t room;
  double counts[5] = {0, 0, 0, (double)refused_passages, (double)refused_bytes};
  arguments(env, info, args, 1);
  uint8_t *to = bytes_argument(env, args[0], &room);
  if (!to || room < sizeof counts) return number(env, -EINVAL);
  for (int32_t at = 0; at < ever_used; at++)
    if (estate->passages[at].is_used) counts[estate->passages[at].state == PASSING ? 0 : 1]++;
  int32_t free_chunks = 0;
  for (int32_t at = estate ? estate->free_chunk : -1; at >= 0; at = estate->next_chunk[at]) free_chunks++;
  if (estate) counts[2] = (double)(MOST_CHUNKS - free_chunks) * sizeof estate->chunks->bytes;
  memcpy(to, counts, sizeof counts);
  return number(env, 0);
}

void export_passages(napi_env env, napi_value exports) {
  export_functions(env, exports, (const struct exported[]){{"sharedMemory", shared_memory},
                                                           {"openPassages", open_passages},
                                                           {"enterPassage", enter_passage},
                                                           {"joinPassage", join_passage},
                                                           {"holdPassage", hold_passage},
                                                           {"settlePassage", settle_passage},
                                                           {"dividePassage", divide_passage},
                                                           {"changePassage", change_passage},
                                                           {"passageCounts", passage_counts_of_all},
                                                           {0}});
}
