/*
 * The functions of libuv that the addons use. uv.h is in no npm package that can be relied on,
 * and Debian's belongs to another libuv than the running Node's; the ABI of these is stable within
 * libuv 1.x, and sizes are asked for at run time.
 */
#ifndef MIRRORD_UV_ABI_H
#define MIRRORD_UV_ABI_H
#include <stddef.h>
#include <stdint.h>

typedef struct uv_loop_s uv_loop_t;
typedef struct uv_poll_s uv_poll_t;
typedef struct uv_idle_s uv_idle_t;
typedef struct uv_handle_s uv_handle_t;
typedef void (*uv_poll_cb)(uv_poll_t *handle, int status, int events);
typedef void (*uv_idle_cb)(uv_idle_t *handle);
typedef void (*uv_close_cb)(uv_handle_t *handle);

enum { UV_IDLE_HANDLE_TYPE = 6, UV_POLL_HANDLE_TYPE = 8, UV_READABLE_EVENT = 1, UV_WRITABLE_EVENT = 2 };

size_t uv_handle_size(int type);
void *uv_handle_get_data(const uv_handle_t *handle);
void uv_handle_set_data(uv_handle_t *handle, void *data);
int uv_poll_init(uv_loop_t *loop, uv_poll_t *handle, int fd);
int uv_poll_start(uv_poll_t *handle, int events, uv_poll_cb callback);
int uv_poll_stop(uv_poll_t *handle);
int uv_idle_init(uv_loop_t *loop, uv_idle_t *handle);
int uv_idle_start(uv_idle_t *handle, uv_idle_cb callback);
int uv_idle_stop(uv_idle_t *handle);
uint64_t uv_hrtime(void);
void uv_ref(uv_handle_t *handle);
void uv_unref(uv_handle_t *handle);
void uv_close(uv_handle_t *handle, uv_close_cb callback);
#endif
