/* What the addon of redirected.c has of capture.c. */
#ifndef MIRRORD_CAPTURE_H
#define MIRRORD_CAPTURE_H
#include <node_api.h>

napi_value open_capture(napi_env env, napi_callback_info info);
napi_value filter_capture(napi_env env, napi_callback_info info);
napi_value capture_losses(napi_env env, napi_callback_info info);
napi_value close_capture(napi_env env, napi_callback_info info);
#endif
