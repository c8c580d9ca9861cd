/* Functions of the agent's addon: see socket-diagnostics.c. */
#ifndef MIRRORD_SOCKET_DIAGNOSTICS_H
#define MIRRORD_SOCKET_DIAGNOSTICS_H
#include <node_api.h>

napi_value listening(napi_env env, napi_callback_info info);
napi_value connections(napi_env env, napi_callback_info info);
napi_value connection(napi_env env, napi_callback_info info);
napi_value destroy_connection(napi_env env, napi_callback_info info);
#endif
