/* What the files of the socket addon share: whom they tell, and addresses as JavaScript has them. */
#ifndef MIRRORD_SOCKET_H
#define MIRRORD_SOCKET_H
#include <node_api.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* What the callback is told, in the order of sockets/native.ts. */
enum event { DATA, END, FAILED, WRITABLE, READABLE, DATAGRAMS, ACCEPTED };

/* Tells of one event, at once; returns the answer, or 0. */
int32_t sockets_tell(int32_t id, enum event event, int32_t value);
/* Notes an event, to be told with others, and returns where a record of so many bytes about it is to be. */
uint8_t *sockets_note(int32_t id, enum event event, int32_t value, size_t bytes);
/* Tells of all that is noted. */
void sockets_deliver(void);

/* Makes a stream of a connection that was accepted; an id, or a negative errno: then it is closed. */
int32_t stream_accept(int fd);
/* JavaScript knows of it: it is read, and watched. */
void stream_begin(int32_t id);

/* An endpoint is a port (big-endian) and an address: 6 or 18 bytes. */
enum { ENDPOINT_BYTES = 18 };
socklen_t endpoint_to_sockaddr(struct sockaddr_storage *to, const uint8_t *endpoint, size_t length);
size_t endpoint_of_sockaddr(uint8_t *endpoint, const struct sockaddr_storage *from);

struct exported { const char *name; napi_callback function; };
/* Up to one without a name. */
void export_functions(napi_env env, napi_value exports, const struct exported *functions);

/* listener.c */
/* An IPv4 address that an IPv6 socket shows is itself. */
void address_unmap(struct sockaddr_storage *address);
/* Where a connection was going before it was redirected, its own address if it was not. Returns the length; 0: the kernel does not
 * know. `family`: of the peer's address as it is. */
socklen_t address_before_redirect(int fd, int family, struct sockaddr_storage *to);
void export_listeners(napi_env env, napi_value exports);
struct seat;
/* Of a stream that is open: its seat, and its descriptor; NULL: it is none. */
struct seat *seat_argument(napi_env env, napi_value id, int *fd);
/* What all sockets read into. */
const uint8_t *sockets_memory(size_t *room);

/* passages.c */
void export_passages(napi_env env, napi_value exports);
/* standby.c */
void export_standby(napi_env env, napi_value exports);
/* datagrams.c */
void export_datagrams(napi_env env, napi_value exports);
#endif
