// What guests in C need of both ABIs, without a library.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name)))
#define FROM(module, name) __attribute__((import_module(module), import_name(#name))) extern
#define TEXT(s) s, sizeof s - 1

typedef uint32_t u32;

#ifdef HTTP_WASM
FROM("http_handler", enable_features) u32 enable_features(u32 features);
FROM("http_handler", get_header_values) uint64_t get_header_values(u32 kind, const char *name, u32 n, char *p, u32 limit);
FROM("http_handler", set_header_value) void set_header_value(u32 kind, const char *name, u32 n, const char *v, u32 vn);
FROM("http_handler", add_header_value) void add_header_value(u32 kind, const char *name, u32 n, const char *v, u32 vn);
FROM("http_handler", read_body) uint64_t read_body(u32 kind, unsigned char *p, u32 limit);
#else
FROM("env", proxy_get_header_map_value) u32 get_value(u32 map, const char *name, u32 n, char **p, u32 *size);
FROM("env", proxy_replace_header_map_value) u32 replace_value(u32 map, const char *name, u32 n, const char *v, u32 vn);
FROM("env", proxy_add_header_map_value) u32 add_value(u32 map, const char *name, u32 n, const char *v, u32 vn);
#endif
