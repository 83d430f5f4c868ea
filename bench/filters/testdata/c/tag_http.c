// Reads a header, sets one, and adds one to the answer; for http-wasm.
#define HTTP_WASM
#include "abi.h"

static char value[256];

EXPORT(handle_request) uint64_t handle_request(void) {
	uint64_t found = get_header_values(0, TEXT("x-one"), value, sizeof value);
	if (found >> 32 && (u32)found <= sizeof value) set_header_value(0, TEXT("x-tag"), value, (u32)found - 1);
	add_header_value(1, TEXT("x-tag"), TEXT("weir"));
	return 1;
}

EXPORT(handle_response) void handle_response(u32 context, u32 failed) { (void)context, (void)failed; }
