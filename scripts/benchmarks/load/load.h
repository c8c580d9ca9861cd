/*
 * What the parts of the load generator share: time, sockets, and the head of a bulk flow.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BLOCK = 128 * 1024, SHORT_BYTES = 1024 };

/* The first bytes of a bulk flow. Both ends are on one machine: they share CLOCK_MONOTONIC and byte order. */
struct bulk_head {
  uint64_t from_ns;  /* bytes that arrive earlier are warming up */
  uint64_t until_ns; /* the sender stops here; what arrives later doesn't count */
  uint64_t is_up;
};

/* What a receiver has counted. */
struct bulk_count {
  uint64_t counted; /* bytes, within the time */
  uint64_t all;     /* bytes */
};

/* Every datagram begins so; is_question asks for a udp_count of the session. */
struct udp_head {
  uint64_t session;
  uint64_t is_question;
};

struct udp_count {
  uint64_t session;
  uint64_t received;
  uint64_t first_ns;
  uint64_t last_ns;
};

extern char block[BLOCK];

uint64_t now_ns(void);
void die(const char *what);
void set_option(int fd, int level, int option, int value);
void no_delay(int fd);
void unblock(int fd);
int listen_on_any(uint16_t *port);
/* Connects, or dies. */
int connect_to(const char *host, uint16_t port, int type);
/* Begins to connect without blocking. */
int begin_connect(const char *host, uint16_t port);
void read_all(int fd, void *bytes, size_t length);
void write_all(int fd, const void *bytes, size_t length);

/* serve.c */
void serve(void);

/* What a client does, one file each; all print one line of JSON. Times in ms. */
struct bulk_result {
  struct bulk_count sum;
  uint64_t least; /* of a flow, bytes within the time */
};
struct bulk_result run_bulk(const char *host, uint16_t port, bool is_up, int flows, int warm_up, int duration);
void bulk(const char *host, uint16_t port, bool is_up, int flows, int warm_up, int duration);
void rtt(const char *host, uint16_t port, int warm_up, int duration);
/* Round trips while another process has bulk flows. */
void loaded_rtt(const char *host, uint16_t bulk_port, uint16_t echo_port, bool is_up, int flows, int warm_up,
                int duration);
/* Short flows, some at a time: for a duration, or until there were `count` of them if that isn't 0. */
void connections(const char *host, uint16_t port, int at_once, int warm_up, int duration, long count);
/* `rate` is datagrams per second, 0: as many as go. */
void udp(const char *host, uint16_t port, size_t size, long rate, int duration);
/* Opens flows that have each carried a byte both ways, and keeps them; 0 closes them. */
void idle(const char *host, uint16_t port, int count);

#endif
