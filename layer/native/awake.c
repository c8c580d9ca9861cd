/*
 * Keeps Node's loop awake for what is expected in a moment.
 *
 * Theory of operation. Who sleeps is woken by an interrupt, on a processor that has mostly gone to sleep as well: in a virtual
 * machine that takes 20 to 50 us, and some of the time of who wakes. As long as an idle handle is active, libuv's loop
 * polls and does not sleep. Between two looks whoever else wants this processor has it; if he keeps it for long, there is
 * other work to be done, and for a while we sleep as ever: then we are woken before others, and who stays awake is not.
 */
#define _GNU_SOURCE
#include "awake.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "napi-arguments.h"
#include "uv-abi.h"

/* What others may take of the processor while we look, and how long we leave it to them if they take more. */
#define OTHERS_NS 200000
#define LEAVE_NS 20000000
/* The longest that may be asked for. */
#define AWAKE_MAX_US 1000

static struct {
  uv_idle_t *idle;
  uint64_t until, not_before;
  int is_active;
} awake;

static void sleep_again(void) {
  if (awake.is_active) uv_idle_stop(awake.idle);
  awake.is_active = 0;
}

static void look(uv_idle_t *idle) {
  uint64_t before = uv_hrtime();
  (void)idle;
  if (before >= awake.until) {
    sleep_again();
    return;
  }
  sched_yield();
  uint64_t after = uv_hrtime();
  if (after - before < OTHERS_NS) return;
  awake.not_before = after + LEAVE_NS;
  sleep_again();
}

static int prepare(napi_env env) {
  uv_loop_t *loop;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return -EINVAL;
  uv_idle_t *idle = calloc(1, uv_handle_size(UV_IDLE_HANDLE_TYPE));
  if (!idle) return -ENOMEM;
  uv_idle_init(loop, idle);
  uv_unref((uv_handle_t *)idle);
  awake.idle = idle;
  return 0;
}

napi_value stay_awake(napi_env env, napi_callback_info info) {
  napi_value args[1];
  arguments(env, info, args, 1);
  int32_t us = int_argument(env, args[0]);
  if (us < 0 || us > AWAKE_MAX_US) return number(env, -EINVAL);
  if (us == 0) return sleep_again(), number(env, 0);
  int failure = awake.idle ? 0 : prepare(env);
  if (failure) return number(env, failure);
  uint64_t now = uv_hrtime();
  if (now < awake.not_before) return number(env, 0);
  awake.until = now + (uint64_t)us * 1000;
  if (!awake.is_active) uv_idle_start(awake.idle, look);
  awake.is_active = 1;
  return number(env, 0);
}
