// What a guest in C needs to speak Proxy-Wasm, without a library: the host's functions as a table, memory for what the host
// hands over, and a few lines in place of libc.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(name) __attribute__((import_module("env"), import_name(#name))) extern

typedef uint32_t u32;

// P0 to P12 are so many parameters of 32 bits.
#define P0 void
#define P1 u32
#define P2 u32, u32
#define P3 P2, u32
#define P4 P3, u32
#define P5 P4, u32
#define P6 P5, u32
#define P8 P6, u32, u32
#define P9 P8, u32
#define P10 P8, P2
#define P12 P10, P2

// FUNCTIONS is every function of the host: its name, how many parameters it has (PX: one of 32 bits and one of 64), which
// statuses a strict SDK survives, and what the parameters are:
//   v log level, b buffer, m header map, s stream, M kind of metric, i metric, Q queue, c context, g gRPC call, t time,
//   S status, G gRPC status, C compare-and-swap number, n number, x number of 64 bits, o where 4 bytes go, O where 8 bytes go;
//   of two parameters, where and how long: L log message, k name of a header, w its value, H header map, B bytes, u upstream,
//   d path of a property, f name of a foreign function, N name of a metric, K key of shared data, q name of a queue, I vm_id
#define OK 1u
#define ST(n) (1u << (n))
#define FUNCTIONS(X) \
	X(proxy_log, P3, OK, "vL") \
	X(proxy_get_log_level, P1, OK, "o") \
	X(proxy_get_current_time_nanoseconds, P1, OK, "O") \
	X(proxy_set_tick_period_milliseconds, P1, OK, "t") \
	X(proxy_get_configuration, P2, OK, "oo") \
	X(proxy_get_buffer_status, P3, OK | ST(1), "boo") \
	X(proxy_get_buffer_bytes, P5, OK | ST(1), "bnnoo") \
	X(proxy_set_buffer_bytes, P5, OK, "bnnB") \
	X(proxy_get_header_map_size, P2, OK | ST(1), "mo") \
	X(proxy_get_header_map_pairs, P3, OK, "moo") \
	X(proxy_set_header_map_pairs, P3, OK, "mH") \
	X(proxy_get_header_map_value, P5, OK | ST(1), "mkoo") \
	X(proxy_add_header_map_value, P5, OK, "mkw") \
	X(proxy_replace_header_map_value, P5, OK, "mkw") \
	X(proxy_remove_header_map_value, P3, OK, "mk") \
	X(proxy_continue_stream, P1, OK, "s") \
	X(proxy_close_stream, P1, OK, "s") \
	X(proxy_continue_request, P0, OK, "") \
	X(proxy_continue_response, P0, OK, "") \
	X(proxy_clear_route_cache, P0, OK, "") \
	X(proxy_send_local_response, P8, OK, "SBBHG") \
	X(proxy_http_call, P10, OK | ST(2) | ST(10), "uHBHto") \
	X(proxy_grpc_call, P12, OK | ST(4) | ST(10), "uBBHBto") \
	X(proxy_grpc_stream, P9, OK | ST(4) | ST(10), "uBBHo") \
	X(proxy_grpc_send, P4, OK | ST(1) | ST(2), "gBn") \
	X(proxy_grpc_cancel, P1, OK | ST(1), "g") \
	X(proxy_grpc_close, P1, OK | ST(1), "g") \
	X(proxy_get_status, P3, OK, "ooo") \
	X(proxy_set_shared_data, P5, OK | ST(8), "KBC") \
	X(proxy_get_shared_data, P5, OK | ST(1), "Kooo") \
	X(proxy_register_shared_queue, P3, OK, "qo") \
	X(proxy_resolve_shared_queue, P5, OK | ST(1), "Iqo") \
	X(proxy_enqueue_shared_queue, P3, OK | ST(1), "QB") \
	X(proxy_dequeue_shared_queue, P3, OK | ST(1) | ST(7), "Qoo") \
	X(proxy_define_metric, P4, OK, "MNo") \
	X(proxy_record_metric, PX, OK | ST(1), "ix") \
	X(proxy_increment_metric, PX, OK | ST(1) | ST(2), "ix") \
	X(proxy_get_metric, P2, OK | ST(1), "iO") \
	X(proxy_get_property, P4, OK | ST(1) | ST(3) | ST(10), "doo") \
	X(proxy_set_property, P4, OK, "dB") \
	X(proxy_call_foreign_function, P6, OK | ST(1) | ST(2) | ST(3) | ST(10), "fBoo") \
	X(proxy_set_effective_context, P1, OK | ST(2), "c") \
	X(proxy_done, P0, OK, "")

#define PX u32, int64_t
#define DECLARE(name, params, statuses, roles) IMPORT(name) u32 name(params);
FUNCTIONS(DECLARE)
#undef DECLARE

static size_t length(const char *s) {
	size_t n = 0;
	while (s[n]) n++;
	return n;
}

static int same(const char *a, size_t n, const char *b) {
	if (n != length(b)) return 0;
	for (size_t i = 0; i < n; i++)
		if (a[i] != b[i]) return 0;
	return 1;
}

static int begins(const char *a, size_t n, const char *b) {
	return n >= length(b) && same(a, length(b), b);
}

// memcpy and memset are what the compiler may call by itself.
void *memcpy(void *to, const void *from, size_t n) {
	for (size_t i = 0; i < n; i++) ((volatile char *)to)[i] = ((const char *)from)[i];
	return to;
}

void *memset(void *to, int c, size_t n) {
	for (size_t i = 0; i < n; i++) ((volatile char *)to)[i] = (char)c;
	return to;
}

#define AT(p) ((u32)(uintptr_t)(p))
#define STR(s) AT(s), (u32)length(s)

// Text that is put together: a line for the log, most of all.
typedef struct {
	char b[512];
	u32 n;
} text;

static void add_bytes(text *t, const char *s, size_t n) {
	for (size_t i = 0; i < n && t->n < sizeof t->b; i++) t->b[t->n++] = s[i];
}

static void add(text *t, const char *s) { add_bytes(t, s, length(s)); }

static void add_number(text *t, u32 v) {
	char d[10];
	int n = 0;
	do d[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n) add_bytes(t, &d[--n], 1);
}
