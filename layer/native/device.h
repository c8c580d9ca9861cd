/* What the addon of addon.c has of device.c. */
#ifndef MIRRORD_DEVICE_H
#define MIRRORD_DEVICE_H
#include <node_api.h>

napi_value start_reading(napi_env env, napi_callback_info info);
napi_value pause_reading(napi_env env, napi_callback_info info);
napi_value stop_reading(napi_env env, napi_callback_info info);
napi_value write_packet(napi_env env, napi_callback_info info);
napi_value send_packet(napi_env env, napi_callback_info info);
#endif
