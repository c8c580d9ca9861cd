/* What passes through this process from one connection to another, kept where another process can see it: passages.c. */
#ifndef MIRRORD_PASSAGES_H
#define MIRRORD_PASSAGES_H
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { MOST_PASSAGES = 6144, CHUNK_BYTES = 4096, MOST_CHUNKS = 4096, MOST_KEPT = 4, MOST_CHANGES = 64 };
/* Streams of a divided connection of HTTP/2 that whoever goes on with it must know. */
enum { MOST_STREAMS = 256 };
/* Nothing but bytes as they are; or something that only we know the rest of. */
enum passage_state { PASSING, HELD };

/* One connection of a passage. What is counted begins with it. */
struct side {
  int32_t fd;                 /* -1: none */
  uint64_t received, acknowledged; /* by the kernel's count, when ours began: see passage_counts */
  uint64_t written;           /* as the kernel has taken it */
  uint64_t read;              /* up to the last delivery */
  /* What is read for the delivery that goes on: `length` bytes at `at` of the memory, from `from` on in what is received. While
   * `is_live`, there may be more than length says: the kernel knows. */
  uint64_t from;
  uint32_t at, length;
  int32_t is_live;
};

/* Of what is written from `begin` to `end`, so many bytes more than were read for it; less, if it is negative. */
struct change {
  uint64_t begin, end;
  int32_t more;
};

/* Chunks, one behind the other; -1: none. */
struct list {
  int32_t first, last;
};

/* One direction. A place is a number of bytes, of its source or of its destination. */
struct direction {
  /* What was read from `start` on is written from `out` on, but for changes that are not written, in their order. */
  uint64_t start, out;
  struct change changes[MOST_CHANGES];
  int32_t change_count;
  int32_t is_moving; /* start, out and changes are being set: nobody knows */
  struct list unwritten; /* what was read before the last delivery, and not written */
  /* Of what was given to be written before `out`, what the kernel may not have taken. Only of what is divided. */
  struct list pending;
};

/* One direction of a connection of HTTP/2 that is divided, at the place where it starts. */
struct division_way {
  uint32_t window; /* what the receiver takes of DATA */
  uint32_t debt;   /* and what of his updates the sender must not hear of */
  uint32_t untold; /* what the sender may send besides, and was not told of */
  /* Of a frame of which a part was read: what is to become of the rest; how many bytes that is, and of those, before padding. */
  uint32_t rest, left, data_left;
  uint32_t stream, is_last; /* of a rest that is a frame of its own */
};
enum rest { BETWEEN_FRAMES, REST_PASSES, REST_IS_A_FRAME, REST_IS_DROPPED };

/* A stream that does not pass, or not by one number. */
struct division_stream {
  uint32_t client, application; /* its numbers; 0: none */
  uint32_t is_passed; /* enum passed */
  /* The code of a reset that either end is still to get; NO_RESET: none. */
  uint32_t tell_client, tell_application;
  /* What the application takes of its DATA, where the client may send `debt` more than that; else NO_WINDOW. */
  uint32_t window, debt;
};
enum passed { IS_SILENT, PASSES, PASSES_LATER /* its HEADERS are among what was not passed on */ };
enum { NO_RESET = 0xffff };
#define NO_WINDOW UINT32_MAX

/* What of a connection of HTTP/2 is not the application's: forwarding-frames.c. Nothing but words, as JavaScript has it. */
struct division {
  struct division_way up, down;
  uint32_t last_client, last_application; /* the largest numbers so far */
  /* Of the acknowledgements of SETTINGS that the client still owes, by bits from the next one on: those that are not the
   * application's. Until he has acknowledged them, what he compresses is not what the application would read. */
  uint32_t own_settings;
  uint32_t is_renumbered; /* some streams have two numbers: of those so far, only the ones that follow pass */
  uint32_t stream_count;
  struct division_stream streams[MOST_STREAMS];
};

struct passage {
  struct side client, application;
  struct direction up, down;
  int32_t is_divided; /* by which of the divisions, from 1 on; 0: it is not */
  int32_t state;
  int32_t is_used;
  /* Where the client was going, and where from its connection to there comes, or length 0. */
  struct sockaddr_storage destination, source;
  socklen_t destination_length, source_length;
  struct division divisions[2]; /* the latest, and one that is being noted */
};

struct chunk {
  uint64_t from;
  uint64_t length;
  uint8_t bytes[CHUNK_BYTES - 16];
};

/* What outlives us. */
struct estate {
  int32_t listener, kept[MOST_KEPT]; /* descriptors, -1: none. Those kept are closed last */
  int32_t command_fd;            /* one of the kept ones, to which the command is written first of all; -1: none */
  int32_t command_length;
  uint32_t mark;
  char command[256];
  struct passage passages[MOST_PASSAGES];
  struct chunk chunks[MOST_CHUNKS];
  int32_t next_chunk[MOST_CHUNKS], free_chunk; /* -1: the last one */
};

extern struct estate *estate;

/* Of what a direction reads, what was written so far, if its destination has taken `written` bytes; 0, and 1 in *is_unknown, when
 * it is in the middle of something else. */
uint64_t passage_place(const struct direction *d, int has_destination, uint64_t written, int *is_unknown);

/* Two of the kernel's counts for a connection: bytes that were read from it, and bytes that were written to it; from an origin that is
 * always the same. Returns 0 if there are none. */
int passage_counts(int fd, uint64_t *read, uint64_t *written);

/* Of a socket: the passage that it is a side of. Both NULL: none. */
struct seat {
  struct passage *passage;
  struct side *side;
};

/* What socket.c tells of sockets that have one. */
static inline void seat_reads(const struct seat *seat, size_t at) {
  struct side *side = seat->side;
  if (!side) return;
  side->from = side->read;
  side->at = (uint32_t)at;
  side->length = 0;
  atomic_signal_fence(memory_order_seq_cst);
  side->is_live = 1;
  atomic_signal_fence(memory_order_seq_cst);
}
static inline void seat_has_read(const struct seat *seat, size_t count) {
  if (seat->side) seat->side->length = (uint32_t)count;
}
/* Of one piece at a time there is an account. */
static inline int seat_has_piece(const struct seat *seat) {
  return seat->side && seat->side->is_live && seat->side->length;
}
void seat_delivered(const struct seat *seat, const uint8_t *bytes);
void seat_wrote(const struct seat *seat, size_t count);
void seat_closes(struct seat *seat);
#endif
