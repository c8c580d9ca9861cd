/*
 * Copies of the packets that a network namespace receives, for the agent: a packet socket with a ring (AF_PACKET,
 * Documentation/networking/packet_mmap.rst). The packets themselves go their way; nothing here can hold them up.
 *
 * Theory of operation. A program of classic BPF, which JavaScript makes, says which packets are copied, and the kernel runs
 * it for every packet of the namespace. It puts copies into blocks of the ring and hands a block over when it is full,
 * or after RETIRE_MS. JavaScript reads them where they are: the ring is one of its ArrayBuffers, and of each packet there is
 * a note of where its network header is. A block goes back to the kernel when all of its packets were told of. While no
 * block is free, the kernel drops copies and counts them (PACKET_STATISTICS): that is the bound.
 *
 * A packet is copied before TCP has seen it, so one with a wrong checksum is left out here, as it is there. What the kernel has
 * verified, or has not filled in yet since it never leaves the machine, it says.
 *
 * Needs CAP_NET_RAW. Failures come back as negative errnos; agent/native.ts is the only file that loads this.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <node_api.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "capture.h"
#include "napi-arguments.h"
#include "uv-abi.h"

/* Of the ring: a block takes the largest packet that there may be of IPv4 or IPv6 with room for others. */
enum { BLOCK_BYTES = 1 << 18, BLOCKS = 32, FRAME_BYTES = 1 << 11 };
enum { RING_BYTES = BLOCK_BYTES * BLOCKS };
/* How long a packet may wait in a block that is not full: a tick of the slowest kernels. */
enum { RETIRE_MS = 4 };
/* Told of at a time; blocks in a row before others have their turn. */
enum { NOTES = 512, BLOCK_ROUNDS = 8 };

enum { OUTGOING = 1, LOOPBACK = 2 };

/* Of a packet, where JavaScript finds it. */
struct note {
  uint32_t offset;      /* of its network header, in the ring */
  uint32_t length;      /* of what is there from that header on */
  uint32_t full_length; /* of what there was */
  uint32_t way;         /* OUTGOING, LOOPBACK */
};

/* Lives until its poll handle is closed. */
struct capture {
  napi_env env;
  napi_ref callback, notes, ring;
  uv_poll_t *poll;
  int fd;
  uint8_t *bytes;
  struct note *note;
  unsigned next_block;
  uint64_t bad_checksums;
};

static struct capture *capture_argument(napi_env env, napi_value value) {
  void *result = NULL;
  napi_get_value_external(env, value, &result);
  struct capture *c = result;
  return c && c->fd >= 0 ? c : NULL;
}

static void tell(struct capture *c, uint32_t count) {
  napi_env env = c->env;
  napi_handle_scope scope;
  napi_value callback, global, argument, result;
  napi_open_handle_scope(env, &scope);
  napi_get_reference_value(env, c->callback, &callback);
  napi_get_global(env, &global);
  napi_create_uint32(env, count, &argument);
  if (napi_make_callback(env, NULL, global, callback, 1, &argument, &result) == napi_pending_exception) {
    napi_value error;
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

static uint32_t sum(uint32_t so_far, const uint8_t *bytes, size_t length) {
  uint64_t total = so_far;
  for (; length >= 2; bytes += 2, length -= 2) total += (uint32_t)bytes[0] << 8 | bytes[1];
  if (length) total += (uint32_t)bytes[0] << 8;
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  return (uint32_t)total;
}

/* Whether TCP would take it (RFC 9293, section 3.1). What is no whole TCP segment is JavaScript's to leave out. */
static int has_good_checksum(const uint8_t *packet, size_t length) {
  size_t header, addresses, address_bytes, end = length;
  if (length < 40) return 1;
  if (packet[0] >> 4 == 4) {
    header = (size_t)(packet[0] & 15) * 4, addresses = 12, address_bytes = 8;
    size_t total = (size_t)packet[2] << 8 | packet[3];
    if (total && total < end) end = total;
  } else {
    header = packet[6] == 0 ? 48 : 40, addresses = 8, address_bytes = 32;
    size_t payload = (size_t)packet[4] << 8 | packet[5];
    if (payload && payload + 40 < end) end = payload + 40;
  }
  if (header < 20 || header > end) return 1;
  uint32_t segment = (uint32_t)(end - header);
  uint32_t pseudo = sum((segment & 0xffff) + (segment >> 16) + 6, packet + addresses, address_bytes);
  return sum(pseudo, packet + header, segment) == 0xffff;
}

/* Whether the note is one of a packet to tell of. */
static int describe(struct capture *c, const struct tpacket3_hdr *header, struct note *note) {
  const struct sockaddr_ll *from = (const void *)((const uint8_t *)header + TPACKET_ALIGN(sizeof *header));
  const uint8_t *packet = (const uint8_t *)header + header->tp_net;
  *note = (struct note){.offset = (uint32_t)(packet - c->bytes),
                        .length = header->tp_snaplen,
                        .full_length = header->tp_len,
                        .way = (from->sll_pkttype == PACKET_OUTGOING ? OUTGOING : 0) |
                               (from->sll_hatype == ARPHRD_LOOPBACK ? LOOPBACK : 0)};
  if (header->tp_status & (TP_STATUS_CSUM_VALID | TP_STATUS_CSUMNOTREADY) || note->way & OUTGOING) return 1;
  if (note->length < note->full_length || has_good_checksum(packet, note->length)) return 1;
  c->bad_checksums++;
  return 0;
}

static void tell_block(struct capture *c, const struct tpacket_block_desc *block) {
  const uint8_t *at = (const uint8_t *)block + block->hdr.bh1.offset_to_first_pkt;
  uint32_t noted = 0;
  for (uint32_t left = block->hdr.bh1.num_pkts; left > 0 && c->fd >= 0; left--) {
    const struct tpacket3_hdr *header = (const void *)at;
    noted += (uint32_t)describe(c, header, &c->note[noted]);
    at += header->tp_next_offset;
    if (noted == NOTES || (left == 1 && noted > 0)) {
      tell(c, noted);
      noted = 0;
    }
  }
}

static void on_event(uv_poll_t *poll, int status, int events) {
  struct capture *c = uv_handle_get_data((uv_handle_t *)poll);
  (void)events;
  for (int round = 0; round < BLOCK_ROUNDS && c->fd >= 0; round++) {
    struct tpacket_block_desc *block = (void *)(c->bytes + (size_t)c->next_block * BLOCK_BYTES);
    if (!(__atomic_load_n(&block->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) break;
    tell_block(c, block);
    if (c->fd < 0) return; /* closed meanwhile: there is no ring any more */
    __atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    c->next_block = (c->next_block + 1) % BLOCKS;
  }
  if (status < 0 && c->fd >= 0) {
    /* An error of the socket's: an interface has gone down. libuv has stopped to watch it. */
    int failure;
    socklen_t size = sizeof failure;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &failure, &size);
    uv_poll_start(c->poll, UV_READABLE_EVENT, on_event);
  }
}

static int attach(int fd, const uint8_t *program, size_t length) {
  struct sock_fprog filter = {.len = (unsigned short)(length / sizeof(struct sock_filter)), .filter = (void *)program};
  if (length == 0 || length % sizeof(struct sock_filter) || length / sizeof(struct sock_filter) > BPF_MAXINSNS)
    return -EINVAL;
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) < 0 ? -errno : 0;
}

/* A socket that receives nothing yet, with its ring. Returns 0 or -errno. */
static int open_ring(struct capture *c) {
  int version = TPACKET_V3;
  struct tpacket_req3 wanted = {.tp_block_size = BLOCK_BYTES,
                                .tp_block_nr = BLOCKS,
                                .tp_frame_size = FRAME_BYTES,
                                .tp_frame_nr = RING_BYTES / FRAME_BYTES,
                                .tp_retire_blk_tov = RETIRE_MS};
  c->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) return -errno;
  if (setsockopt(c->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) < 0) return -errno;
  if (setsockopt(c->fd, SOL_PACKET, PACKET_RX_RING, &wanted, sizeof wanted) < 0) return -errno;
  void *bytes = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
  if (bytes == MAP_FAILED) return -errno;
  c->bytes = bytes;
  return 0;
}

static int receive(int fd) {
  struct sockaddr_ll everything = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
  return bind(fd, (struct sockaddr *)&everything, sizeof everything) < 0 ? -errno : 0;
}

static int watch(napi_env env, struct capture *c) {
  uv_loop_t *loop;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return -EINVAL;
  c->poll = calloc(1, uv_handle_size(UV_POLL_HANDLE_TYPE));
  if (!c->poll) return -ENOMEM;
  int failure = uv_poll_init(loop, c->poll, c->fd);
  if (failure < 0) {
    free(c->poll);
    c->poll = NULL;
    return failure;
  }
  uv_handle_set_data((uv_handle_t *)c->poll, c);
  return uv_poll_start(c->poll, UV_READABLE_EVENT, on_event);
}

static void on_closed(uv_handle_t *handle) {
  free(uv_handle_get_data(handle));
  free(handle);
}

/* Frees everything; JavaScript's view of the ring is empty before the memory is gone. */
static void end(napi_env env, struct capture *c) {
  napi_ref references[] = {c->callback, c->notes, c->ring};
  napi_value ring;
  if (c->ring && napi_get_reference_value(env, c->ring, &ring) == napi_ok && ring) napi_detach_arraybuffer(env, ring);
  for (size_t i = 0; i < sizeof references / sizeof *references; i++)
    if (references[i]) napi_delete_reference(env, references[i]);
  if (c->poll) uv_poll_stop(c->poll);
  if (c->bytes) munmap(c->bytes, RING_BYTES);
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
  c->bytes = NULL;
  if (c->poll) uv_close((uv_handle_t *)c->poll, on_closed);
  else free(c);
}

/* openCapture(program, notes, callback) -> [handle, ring] | -errno: of what the program lets through, callback(count)
 * is told by that many notes. */
napi_value open_capture(napi_env env, napi_callback_info info) {
  napi_value args[3], pair, handle, ring;
  size_t length, room;
  arguments(env, info, args, 3);
  uint8_t *program = bytes_argument(env, args[0], &length);
  void *notes = bytes_argument(env, args[1], &room);
  if (!program || !notes || room < NOTES * sizeof(struct note)) return number(env, -EINVAL);
  struct capture *c = calloc(1, sizeof *c);
  if (!c) return number(env, -ENOMEM);
  *c = (struct capture){.env = env, .fd = -1, .note = notes};
  int failure = open_ring(c);
  if (failure == 0) failure = attach(c->fd, program, length);
  if (failure == 0 && napi_create_external_arraybuffer(env, c->bytes, RING_BYTES, NULL, NULL, &ring) != napi_ok)
    failure = -ENOTSUP;
  else if (failure == 0) napi_create_reference(env, ring, 1, &c->ring);
  if (failure == 0) failure = watch(env, c);
  if (failure == 0) failure = receive(c->fd);
  if (failure < 0) {
    end(env, c);
    return number(env, failure);
  }
  napi_create_reference(env, args[1], 1, &c->notes);
  napi_create_reference(env, args[2], 1, &c->callback);
  napi_create_external(env, c, NULL, NULL, &handle);
  napi_create_array_with_length(env, 2, &pair);
  napi_set_element(env, pair, 0, handle);
  napi_set_element(env, pair, 1, ring);
  return pair;
}

/* filterCapture(handle, program) -> 0 | -errno: from now on. */
napi_value filter_capture(napi_env env, napi_callback_info info) {
  napi_value args[2];
  size_t length;
  arguments(env, info, args, 2);
  struct capture *c = capture_argument(env, args[0]);
  uint8_t *program = bytes_argument(env, args[1], &length);
  if (!c) return number(env, -EBADF);
  return number(env, program ? attach(c->fd, program, length) : -EINVAL);
}

/* captureLosses(handle, losses) -> 0 | -errno: copies that the ring had no room for since the last call, and packets with a
 * wrong checksum since the first, as two numbers. */
napi_value capture_losses(napi_env env, napi_callback_info info) {
  napi_value args[2];
  size_t room;
  arguments(env, info, args, 2);
  struct capture *c = capture_argument(env, args[0]);
  uint8_t *losses = bytes_argument(env, args[1], &room);
  if (!c) return number(env, -EBADF);
  if (!losses || room < 2 * sizeof(double)) return number(env, -EINVAL);
  struct tpacket_stats_v3 statistics;
  socklen_t size = sizeof statistics;
  if (getsockopt(c->fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &size) < 0) return number(env, -errno);
  double values[] = {statistics.tp_drops, (double)c->bad_checksums};
  memcpy(losses, values, sizeof values);
  return number(env, 0);
}

/* closeCapture(handle): once only. */
napi_value close_capture(napi_env env, napi_callback_info info) {
  napi_value args[1];
  arguments(env, info, args, 1);
  struct capture *c = capture_argument(env, args[0]);
  if (!c) return number(env, -EBADF);
  end(env, c);
  return number(env, 0);
}
