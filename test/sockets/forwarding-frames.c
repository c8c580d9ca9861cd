/*
 * What forwarding-frames.c makes of two directions (forwarding-frames.test.ts). Reads the words of a division, as their length
 * in bytes and themselves; then pieces of either direction: a byte (0: up, 1: down), a length, and the bytes. Writes pieces of the same form;
 * then of each direction, as words: what waits, its window, debt, and what was not told.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "passages.h"
#include "standby.h"

enum { ROOM = 1 << 20 };
static struct frames ways[2];
static uint8_t waiting[2][ROOM], out[ROOM + OWN_FRAMES_BYTES + FRAMES_MORE_BYTES];
static size_t waiting_length[2];

static int read_all(void *to, size_t length) { return fread(to, 1, length, stdin) == length; }

static void go_on(int way) {
  size_t consumed, own = frames_own(&ways[way], out);
  size_t passed = frames_pass(&ways[way], waiting[way], waiting_length[way], out + own, &consumed);
  if (own > OWN_FRAMES_BYTES || passed > waiting_length[way] + FRAMES_MORE_BYTES) abort();
  int is_stopped = consumed < waiting_length[way];
  waiting_length[way] -= consumed;
  memmove(waiting[way], waiting[way] + consumed, waiting_length[way]);
  size_t at = own + passed;
  if (is_stopped) at += frames_updates(&ways[way], waiting[way], waiting_length[way], out + at, sizeof out - at);
  uint32_t length = (uint32_t)at;
  putchar(way);
  fwrite(&length, sizeof length, 1, stdout);
  fwrite(out, 1, length, stdout);
}

static int can_go_on(int way) { return frames_can_go_on(&ways[way], waiting_length[way] > 0); }

int main(void) {
  static struct division division;
  uint32_t length;
  uint8_t way;
  if (!read_all(&length, sizeof length) || length > sizeof division || !read_all(&division, length)) return 1;
  frames_begin(&ways[0], &ways[1], &division);
  go_on(0);
  go_on(1);
  while (read_all(&way, 1) && read_all(&length, sizeof length)) {
    if (way > 1 || length > ROOM - waiting_length[way] || !read_all(waiting[way] + waiting_length[way], length)) return 1;
    waiting_length[way] += length;
    go_on(way);
    go_on(way); /* what is said between frames comes first */
    while (can_go_on(0) || can_go_on(1)) go_on(can_go_on(0) ? 0 : 1);
  }
  for (int i = 0; i < 2; i++) {
    uint32_t words[] = {(uint32_t)waiting_length[i], ways[i].window, ways[i].debt, ways[i].untold};
    putchar(2 + i);
    length = sizeof words;
    fwrite(&length, sizeof length, 1, stdout);
    fwrite(words, sizeof words, 1, stdout);
  }
  return 0;
}
