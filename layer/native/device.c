/*
 * Packets of a TUN device in batches.
 *
 * Theory of operation. A TUN device gives one packet a read(2). A libuv poll handle on the loop's
 * thread drains it: up to `slots` packets into one preallocated ring, then one call into JavaScript
 * with their number (lengths beside), at most ROUNDS times before other handles get their turn.
 * Packets are written one a call, gathered from a header and the pieces of the payload (writev).
 * A transparent UDP socket is read the same way: each datagram is put back into an IP packet with the
 * destination it had, so that whoever reads the ring need not know the difference. Of a listening socket
 * that Node has no class for, the "packets" are the descriptors of accepted connections.
 *
 * Failures come back as negative errnos; layer/native/native.ts turns them into errors. Pointers and
 * lengths are checked here, everything else there.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include "device.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "napi-arguments.h"
#include "uv-abi.h"

#define ROUNDS 4
/* As many as the netstack gathers (netstack/limits.ts); IOV_MAX is 1,024. */
#define MAX_PARTS 256

/* A device being read. Lives until its poll handle is closed. */
struct reader {
  uv_poll_t *poll;
  napi_env env;
  napi_ref callback, ring, lengths;
  uint8_t *slots;
  uint32_t *filled;
  size_t slot_size, slot_count;
  int fd, is_paused;
  int is_busy; /* the last time there was more than one */
  enum source { DEVICE, TRANSPARENT_UDP, LISTENER } source; /* in the order of native.ts */
};

static void put16(uint8_t *at, size_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

/* The destination that a datagram had before tproxy; 0 if the kernel didn't say. */
static int original_destination(struct msghdr *message, void *address, size_t size) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
    if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_ORIGDSTADDR) ||
        (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_ORIGDSTADDR)) {
      size_t length = c->cmsg_len - CMSG_LEN(0);
      memcpy(address, CMSG_DATA(c), length < size ? length : size);
      return 1;
    }
  return 0;
}

/* Writes the IP and UDP headers of a datagram that `length` bytes follow. Returns their length. */
static size_t put_headers(uint8_t *ip, const struct sockaddr_storage *from, const struct sockaddr_storage *to,
                          size_t length, int v6) {
  uint8_t *udp = ip + (v6 ? 40 : 20);
  if (v6) {
    const struct sockaddr_in6 *a = (const void *)from, *b = (const void *)to;
    memset(ip, 0, 40);
    ip[0] = 0x60;
    put16(ip + 4, length + 8);
    ip[6] = IPPROTO_UDP;
    ip[7] = 64;
    memcpy(ip + 8, &a->sin6_addr, 16);
    memcpy(ip + 24, &b->sin6_addr, 16);
    memcpy(udp, &a->sin6_port, 2);
    memcpy(udp + 2, &b->sin6_port, 2);
  } else {
    const struct sockaddr_in *a = (const void *)from, *b = (const void *)to;
    memset(ip, 0, 20);
    ip[0] = 0x45;
    put16(ip + 2, length + 28);
    ip[8] = 64;
    ip[9] = IPPROTO_UDP;
    memcpy(ip + 12, &a->sin_addr, 4);
    memcpy(ip + 16, &b->sin_addr, 4);
    memcpy(udp, &a->sin_port, 2);
    memcpy(udp + 2, &b->sin_port, 2);
    uint32_t sum = 0;
    for (int i = 0; i < 20; i += 2) sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    put16(ip + 10, ~sum & 0xffff);
  }
  put16(udp + 4, length + 8);
  put16(udp + 6, 0);
  return v6 ? 48 : 28;
}

/* Reads one datagram as the packet it was: virtio_net_hdr (checksum known good), IP, UDP, payload. */
static ssize_t read_datagram(int fd, uint8_t *slot, size_t size) {
  enum { VNET = 10, VIRTIO_NET_HDR_F_DATA_VALID = 2 };
  struct sockaddr_storage from, to;
  char control[256];
  static __thread uint8_t payload[65536];
  struct iovec vector = {payload, sizeof payload};
  struct msghdr message = {.msg_name = &from,
                           .msg_namelen = sizeof from,
                           .msg_iov = &vector,
                           .msg_iovlen = 1,
                           .msg_control = control,
                           .msg_controllen = sizeof control};
  ssize_t n = recvmsg(fd, &message, 0);
  if (n < 0) return n;
  int v6 = from.ss_family == AF_INET6;
  if (!original_destination(&message, &to, sizeof to) || VNET + 48 + (size_t)n > size) return 1; /* too short to be one */
  memset(slot, 0, VNET);
  slot[0] = VIRTIO_NET_HDR_F_DATA_VALID;
  size_t headers = put_headers(slot + VNET, &from, &to, (size_t)n, v6);
  memcpy(slot + VNET + headers, payload, (size_t)n);
  return (ssize_t)(VNET + headers) + n;
}

/* Accepts one connection: the slot gets its descriptor. */
static ssize_t read_connection(int fd, uint8_t *slot, size_t size) {
  int32_t accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (accepted < 0 || size < sizeof accepted) return -1;
  memcpy(slot, &accepted, sizeof accepted);
  return sizeof accepted;
}

static ssize_t read_slot(struct reader *r, uint8_t *slot) {
  switch (r->source) {
    case TRANSPARENT_UDP: return read_datagram(r->fd, slot, r->slot_size);
    case LISTENER: return read_connection(r->fd, slot, r->slot_size);
    default: return read(r->fd, slot, r->slot_size);
  }
}

static uint32_t fill(struct reader *r, size_t most) {
  uint32_t count = 0;
  while (count < most) {
    ssize_t n = read_slot(r, r->slots + count * r->slot_size);
    /* Of a FUSE device: a request that was taken back, and a mount that is gone, which would wake us for ever. */
    if (n < 0 && errno == ENOENT) continue;
    if (n < 0 && errno == ENODEV) uv_poll_stop(r->poll);
    if (n <= 0) break; /* EAGAIN: drained. EIO: the link is down; the driver learns of the end otherwise. */
    r->filled[count++] = (uint32_t)n;
  }
  return count;
}

static void on_readable(uv_poll_t *poll, int status, int events) {
  struct reader *r = uv_handle_get_data((uv_handle_t *)poll);
  (void)events;
  if (status < 0) {
    uv_poll_stop(poll);
    return;
  }
  /* Who sends one thing after the other does not wait until it is known that there is no second one. */
  size_t most = r->is_busy ? r->slot_count : 1, all = 0;
  for (int round = 0; round < ROUNDS && r->fd >= 0 && !r->is_paused; round++) {
    uint32_t count = fill(r, most);
    all += count;
    r->is_busy = all > 1;
    if (!count) return;
    napi_handle_scope scope;
    napi_value callback, global, argument, ignored;
    napi_open_handle_scope(r->env, &scope);
    napi_get_reference_value(r->env, r->callback, &callback);
    napi_get_global(r->env, &global);
    napi_create_uint32(r->env, count, &argument);
    if (napi_make_callback(r->env, NULL, global, callback, 1, &argument, &ignored) == napi_pending_exception) {
      napi_value error;
      napi_get_and_clear_last_exception(r->env, &error);
      napi_fatal_exception(r->env, error);
    }
    napi_close_handle_scope(r->env, scope);
    if (count < most) return;
    most = r->slot_count;
  }
}

/* startReading(fd, ring, slotSize, lengths: Uint8Array over Uint32Array, callback, source) -> handle | -errno */
napi_value start_reading(napi_env env, napi_callback_info info) {
  napi_value args[6];
  size_t ring_length, lengths_length;
  if (arguments(env, info, args, 6) < 6) return number(env, -EINVAL);
  int32_t source = int_argument(env, args[5]);
  uint8_t *ring = bytes_argument(env, args[1], &ring_length);
  uint8_t *lengths = bytes_argument(env, args[3], &lengths_length);
  int32_t slot_size = int_argument(env, args[2]);
  if (!ring || !lengths || slot_size <= 0 || source < DEVICE || source > LISTENER) return number(env, -EINVAL);
  size_t slot_count = ring_length / (size_t)slot_size;
  if (!slot_count || lengths_length < slot_count * sizeof(uint32_t)) return number(env, -EINVAL);
  struct reader *r = calloc(1, sizeof *r);
  uv_poll_t *poll = calloc(1, uv_handle_size(UV_POLL_HANDLE_TYPE));
  uv_loop_t *loop;
  if (!r || !poll || napi_get_uv_event_loop(env, &loop) != napi_ok) goto no_memory;
  *r = (struct reader){.poll = poll,
                       .env = env,
                       .slots = ring,
                       .filled = (uint32_t *)(void *)lengths,
                       .slot_size = (size_t)slot_size,
                       .slot_count = slot_count,
                       .fd = int_argument(env, args[0]),
                       .source = (enum source)source};
  int result = uv_poll_init(loop, poll, r->fd);
  if (result < 0) {
    free(r);
    free(poll);
    return number(env, result);
  }
  napi_create_reference(env, args[1], 1, &r->ring);
  napi_create_reference(env, args[3], 1, &r->lengths);
  napi_create_reference(env, args[4], 1, &r->callback);
  uv_handle_set_data((uv_handle_t *)poll, r);
  uv_poll_start(poll, UV_READABLE_EVENT, on_readable);
  napi_value handle;
  napi_create_external(env, r, NULL, NULL, &handle);
  return handle;
no_memory:
  free(r);
  free(poll);
  return number(env, -ENOMEM);
}

static void on_closed(uv_handle_t *handle) {
  free(uv_handle_get_data(handle));
  free(handle);
}

/* pauseReading(handle, isPaused): what comes waits in the device. */
napi_value pause_reading(napi_env env, napi_callback_info info) {
  napi_value args[2];
  struct reader *r = NULL;
  bool is_paused = false;
  arguments(env, info, args, 2);
  if (napi_get_value_external(env, args[0], (void **)&r) != napi_ok || !r || r->fd < 0) return number(env, -EINVAL);
  napi_get_value_bool(env, args[1], &is_paused);
  r->is_paused = is_paused;
  if (is_paused) uv_poll_stop(r->poll);
  else uv_poll_start(r->poll, UV_READABLE_EVENT, on_readable);
  return number(env, 0);
}

/* stopReading(handle): closes the device too. Once only. */
napi_value stop_reading(napi_env env, napi_callback_info info) {
  napi_value args[1];
  struct reader *r = NULL;
  arguments(env, info, args, 1);
  if (napi_get_value_external(env, args[0], (void **)&r) != napi_ok || !r) return number(env, -EINVAL);
  uv_poll_stop(r->poll);
  close(r->fd);
  r->fd = -1;
  napi_delete_reference(env, r->callback);
  napi_delete_reference(env, r->ring);
  napi_delete_reference(env, r->lengths);
  uv_close((uv_handle_t *)r->poll, on_closed);
  return number(env, 0);
}

/* writePacket(fd, head, headLength, parts, partCount) -> 0 | -errno */
napi_value write_packet(napi_env env, napi_callback_info info) {
  napi_value args[5], part;
  struct iovec vectors[MAX_PARTS + 1];
  size_t room;
  arguments(env, info, args, 5);
  int fd = int_argument(env, args[0]);
  uint8_t *head = bytes_argument(env, args[1], &room);
  int32_t head_length = int_argument(env, args[2]), count = int_argument(env, args[4]);
  if (!head || head_length < 0 || (size_t)head_length > room || count < 0 || count > MAX_PARTS)
    return number(env, -EINVAL);
  vectors[0] = (struct iovec){head, (size_t)head_length};
  for (int32_t i = 0; i < count; i++) {
    size_t length;
    if (napi_get_element(env, args[3], (uint32_t)i, &part) != napi_ok) return number(env, -EINVAL);
    uint8_t *bytes = bytes_argument(env, part, &length);
    vectors[i + 1] = (struct iovec){bytes, length};
  }
  return number(env, writev(fd, vectors, count + 1) < 0 ? -errno : 0);
}

/* sendPacket(fd, packet, length) -> 0 | -errno: a whole IP packet, by a raw socket, to where it says. */
napi_value send_packet(napi_env env, napi_callback_info info) {
  napi_value args[3];
  size_t room;
  arguments(env, info, args, 3);
  uint8_t *packet = bytes_argument(env, args[1], &room);
  int32_t length = int_argument(env, args[2]);
  if (!packet || length < 40 - 12 || (size_t)length > room) return number(env, -EINVAL);
  struct sockaddr_in v4 = {.sin_family = AF_INET};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
  int is_v6 = packet[0] >> 4 == 6;
  if (is_v6 && length < 40) return number(env, -EINVAL);
  if (is_v6) memcpy(&v6.sin6_addr, packet + 24, 16);
  else memcpy(&v4.sin_addr, packet + 16, 4);
  ssize_t n = sendto(int_argument(env, args[0]), packet, (size_t)length, 0,
                     is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4, is_v6 ? sizeof v6 : sizeof v4);
  return number(env, n < 0 ? -errno : 0);
}
