/* What the addon of redirected.c has of own-address.c. */
#ifndef MIRRORD_OWN_ADDRESS_H
#define MIRRORD_OWN_ADDRESS_H
#include <node_api.h>

napi_value is_own_address(napi_env env, napi_callback_info info);
#endif
