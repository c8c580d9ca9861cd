/* What the addon of redirected.c has of connection-tracking.c. */
#ifndef MIRRORD_CONNECTION_TRACKING_H
#define MIRRORD_CONNECTION_TRACKING_H
#include <node_api.h>

napi_value destination(napi_env env, napi_callback_info info);
#endif
