/*
 * Where the kernel's connection tracking leads a connection, asked of ctnetlink (nfnetlink_conntrack.h): rules of NAT change
 * its destination behind the place where a packet socket sees it (capture.c). What is over is known for a while yet.
 *
 * Needs CAP_NET_ADMIN. Failures come back as negative errnos; agent/native.ts turns them into errors.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include "connection-tracking.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "napi-arguments.h"
#include "netlink-question.h"

/* A port (big-endian) and an address, as JavaScript has it. */
enum { ENDPOINT_BYTES = 18 };

struct message {
  struct nlmsghdr head;
  struct nfgenmsg family;
  uint8_t attributes[96];
};

static struct questions tracking = {.protocol = NETLINK_NETFILTER, .fd = -1};

/* Appends an attribute; returns where it is, for one that has others in it. */
static struct nlattr *add(struct message *m, uint16_t type, const void *data, uint16_t length) {
  struct nlattr *attribute = (struct nlattr *)((uint8_t *)m + NLMSG_ALIGN(m->head.nlmsg_len));
  *attribute = (struct nlattr){.nla_len = (uint16_t)(NLA_HDRLEN + length), .nla_type = type};
  if (length) memcpy((uint8_t *)attribute + NLA_HDRLEN, data, length);
  m->head.nlmsg_len = (uint32_t)((uint8_t *)attribute - (uint8_t *)m) + NLA_ALIGN(attribute->nla_len);
  return attribute;
}

static void close_nest(struct message *m, struct nlattr *nest) {
  nest->nla_len = (uint16_t)((uint8_t *)m + m->head.nlmsg_len - (uint8_t *)nest);
}

static int ask(const uint8_t *from, const uint8_t *to, uint16_t address_bytes, const struct nlmsghdr **answer) {
  int is_v6 = address_bytes == 16;
  uint8_t protocol = IPPROTO_TCP;
  struct message m = {.head = {.nlmsg_len = NLMSG_LENGTH(sizeof m.family),
                               .nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET},
                      .family = {.nfgen_family = is_v6 ? AF_INET6 : AF_INET}};
  struct nlattr *tuple = add(&m, CTA_TUPLE_ORIG | NLA_F_NESTED, NULL, 0);
  struct nlattr *ip = add(&m, CTA_TUPLE_IP | NLA_F_NESTED, NULL, 0);
  add(&m, is_v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, from + 2, address_bytes);
  add(&m, is_v6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, to + 2, address_bytes);
  close_nest(&m, ip);
  struct nlattr *ports = add(&m, CTA_TUPLE_PROTO | NLA_F_NESTED, NULL, 0);
  add(&m, CTA_PROTO_NUM, &protocol, sizeof protocol);
  add(&m, CTA_PROTO_SRC_PORT, from, 2);
  add(&m, CTA_PROTO_DST_PORT, to, 2);
  close_nest(&m, ports);
  close_nest(&m, tuple);
  return netlink_ask(&tracking, &m.head, answer);
}

/* The attribute of that type among these, or NULL. */
static const struct nlattr *find(const uint8_t *at, size_t length, uint16_t type) {
  while (length >= NLA_HDRLEN) {
    const struct nlattr *attribute = (const void *)at;
    size_t size = NLA_ALIGN(attribute->nla_len);
    if (attribute->nla_len < NLA_HDRLEN || attribute->nla_len > length) break;
    if ((attribute->nla_type & NLA_TYPE_MASK) == type) return attribute;
    if (size >= length) break;
    at += size;
    length -= size;
  }
  return NULL;
}

static const struct nlattr *find_in(const struct nlattr *nest, uint16_t type) {
  return nest ? find((const uint8_t *)nest + NLA_HDRLEN, nest->nla_len - NLA_HDRLEN, type) : NULL;
}

/* Where a tuple's packets come from, as port and address; 0 if that is not told. */
static int read_source(uint8_t *endpoint, const struct nlattr *tuple, uint16_t address_bytes) {
  const struct nlattr *address = find_in(find_in(tuple, CTA_TUPLE_IP), address_bytes == 16 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC);
  const struct nlattr *port = find_in(find_in(tuple, CTA_TUPLE_PROTO), CTA_PROTO_SRC_PORT);
  if (!address || !port || address->nla_len < NLA_HDRLEN + address_bytes || port->nla_len < NLA_HDRLEN + 2) return 0;
  memcpy(endpoint, (const uint8_t *)port + NLA_HDRLEN, 2);
  memcpy(endpoint + 2, (const uint8_t *)address + NLA_HDRLEN, address_bytes);
  return 1;
}

static int read_answer(uint8_t *destination, const struct nlmsghdr *head, const uint8_t *from, uint16_t address_bytes) {
  int status = netlink_status(head);
  if (status <= 0) return status ?: -EIO;
  if (head->nlmsg_len < NLMSG_LENGTH(sizeof(struct nfgenmsg))) return -EIO;
  const uint8_t *attributes = (const uint8_t *)NLMSG_DATA(head) + sizeof(struct nfgenmsg);
  size_t length = head->nlmsg_len - NLMSG_LENGTH(sizeof(struct nfgenmsg));
  uint8_t source[ENDPOINT_BYTES];
  if (!read_source(source, find(attributes, length, CTA_TUPLE_ORIG), address_bytes)) return -EIO;
  /* One that goes the other way: an answer's packets look the same. */
  if (memcmp(source, from, 2 + (size_t)address_bytes)) return -ENOENT;
  return read_source(destination, find(attributes, length, CTA_TUPLE_REPLY), address_bytes) ? 2 + address_bytes : -EIO;
}

/* destination(from, to, endpoint) -> length | -errno: whoever answers a TCP connection between these endpoints, of port
 * (big-endian) and address. -ENOENT: it is not tracked. */
napi_value destination(napi_env env, napi_callback_info info) {
  napi_value args[3];
  size_t from_length, to_length, room;
  arguments(env, info, args, 3);
  const uint8_t *from = bytes_argument(env, args[0], &from_length), *to = bytes_argument(env, args[1], &to_length);
  uint8_t *endpoint = bytes_argument(env, args[2], &room);
  if (!from || !to || !endpoint || room < ENDPOINT_BYTES) return number(env, -EINVAL);
  if (from_length != to_length || (from_length != 6 && from_length != ENDPOINT_BYTES)) return number(env, -EINVAL);
  uint16_t address_bytes = (uint16_t)(from_length - 2);
  const struct nlmsghdr *answer;
  int failure = ask(from, to, address_bytes, &answer);
  return number(env, failure ? failure : read_answer(endpoint, answer, from, address_bytes));
}
