/* What the addon of addon.c has of signals.c. */
#ifndef MIRRORD_SIGNALS_H
#define MIRRORD_SIGNALS_H
#include <node_api.h>

napi_value relay_signals(napi_env env, napi_callback_info info);
napi_value become_subreaper(napi_env env, napi_callback_info info);
#endif
