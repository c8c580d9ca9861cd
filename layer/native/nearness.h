#ifndef MIRRORD_NEARNESS_H
#define MIRRORD_NEARNESS_H
#include <node_api.h>

/* goNear(thread) -> 1: moved | 0: there already | -errno */
napi_value go_near(napi_env env, napi_callback_info info);
#endif
