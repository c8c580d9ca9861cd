#ifndef MIRRORD_AWAKE_H
#define MIRRORD_AWAKE_H
#include <node_api.h>

/* stayAwake(microseconds) -> 0 | -errno: for so long from now the loop does not sleep; 0: it may. Of one thread. */
napi_value stay_awake(napi_env env, napi_callback_info info);
#endif
