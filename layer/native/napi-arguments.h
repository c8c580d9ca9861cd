/* Arguments and results of the addons' functions: numbers and bytes. */
#ifndef MIRRORD_NAPI_ARGUMENTS_H
#define MIRRORD_NAPI_ARGUMENTS_H
#include <node_api.h>
#include <stdint.h>

static inline napi_value number(napi_env env, int64_t value) {
  napi_value result;
  napi_create_int64(env, value, &result);
  return result;
}

/* -1 if it is no number. */
static inline int32_t int_argument(napi_env env, napi_value value) {
  int32_t result = -1;
  napi_get_value_int32(env, value, &result);
  return result;
}

/* The bytes of a Buffer or Uint8Array; NULL if it is none. */
static inline uint8_t *bytes_argument(napi_env env, napi_value value, size_t *length) {
  void *data = NULL;
  *length = 0;
  if (napi_get_buffer_info(env, value, &data, length) != napi_ok) return NULL;
  return (uint8_t *)data;
}

/* Puts the arguments into `values`; returns how many there are. Missing ones are undefined. */
static inline size_t arguments(napi_env env, napi_callback_info info, napi_value *values, size_t wanted) {
  size_t count = wanted;
  napi_get_cb_info(env, info, &count, values, NULL, NULL);
  return count;
}
#endif
