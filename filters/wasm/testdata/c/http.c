// A filter in C for the other ABI, http-wasm.
#include <stddef.h>
#include <stdint.h>

#define IMPORT(name) __attribute__((import_module("http_handler"), import_name(#name))) extern
#define EXPORT(name) __attribute__((export_name(#name)))

typedef uint32_t u32;

IMPORT(get_config) u32 get_config(char *p, u32 limit);
IMPORT(log) void host_log(int level, const char *p, u32 n);
IMPORT(get_header_values) uint64_t get_header_values(u32 kind, const char *name, u32 n, char *p, u32 limit);
IMPORT(set_header_value) void set_header_value(u32 kind, const char *name, u32 n, const char *v, u32 vn);
IMPORT(read_body) uint64_t read_body(u32 kind, char *p, u32 limit);
IMPORT(write_body) void write_body(u32 kind, const char *p, u32 n);
IMPORT(set_status_code) void set_status_code(u32 status);

#define TEXT(s) s, sizeof s - 1

static char tag[64], value[256], body[1 << 16];

static int is(const char *p, u32 n, const char *want, u32 size) {
	if (n != size) return 0;
	for (u32 i = 0; i < n; i++)
		if (p[i] != want[i]) return 0;
	return 1;
}

EXPORT(handle_request) uint64_t handle_request(void) {
	u32 n = get_config(tag, sizeof tag);
	if (n > sizeof tag) n = 0;
	uint64_t found = get_header_values(0, TEXT("x-client"), value, sizeof value);
	if (found >> 32 && is(value, (u32)found - 1, TEXT("bad"))) {
		host_log(0, TEXT("refused"));
		set_status_code(403);
		set_header_value(1, TEXT("x-reason"), TEXT("gate"));
		write_body(1, TEXT("no"));
		return 0;
	}
	set_header_value(0, TEXT("x-tag"), tag, n);
	if (get_header_values(0, TEXT("x-replace"), value, sizeof value) >> 32) {
		u32 size = 1;
		body[0] = '[';
		for (uint64_t got = 0; !(got >> 32) && size < sizeof body - 1; size += (u32)got) got = read_body(0, body + size, (u32)sizeof body - 1 - size);
		body[size++] = ']';
		write_body(0, body, size);
	}
	return 1;
}

EXPORT(handle_response) void handle_response(u32 context, u32 failed) {
	(void)context, (void)failed;
	set_header_value(1, TEXT("x-filter"), TEXT("c"));
}
