// Reads a header, sets one, and adds one to the answer; for Proxy-Wasm.
#include "abi.h"

EXPORT(proxy_abi_version_0_2_1) void marker(void) {}

static char room[1 << 12];

EXPORT(proxy_on_memory_allocate) void *allocate(u32 n) { return n <= sizeof room ? room : 0; }

EXPORT(proxy_on_context_create) void create(u32 id, u32 parent) { (void)id, (void)parent; }

EXPORT(proxy_on_request_headers) u32 request(u32 id, u32 n, u32 last) {
	(void)id, (void)n, (void)last;
	char *p;
	u32 size;
	if (get_value(0, TEXT("x-one"), &p, &size) == 0) replace_value(0, TEXT("x-tag"), p, size);
	return 0;
}

EXPORT(proxy_on_response_headers) u32 response(u32 id, u32 n, u32 last) {
	(void)id, (void)n, (void)last;
	add_value(2, TEXT("x-tag"), TEXT("weir"));
	return 0;
}

EXPORT(proxy_on_done) u32 done(u32 id) { (void)id; return 1; }
EXPORT(proxy_on_log) void on_log(u32 id) { (void)id; }
EXPORT(proxy_on_delete) void gone(u32 id) { (void)id; }
