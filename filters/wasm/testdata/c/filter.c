// A filter in C: it looks at who asks, marks what it lets through, asks another service about those who want it, and puts
// brackets around a body.
#include "proxy.h"

EXPORT(proxy_abi_version_0_2_1) void marker(void) {}

// What the host hands over is of no use after the callback: a ring is enough.
static char ring[1 << 20];
static u32 at;

EXPORT(proxy_on_memory_allocate) void *allocate(u32 n) {
	if (n > sizeof ring) return 0;
	if (n > sizeof ring - at) at = 0;
	void *p = ring + at;
	at += (n + 7) & ~7u;
	return p;
}

static char tag[64];
static u32 tag_size, requests;

typedef struct {
	u32 context, token, replace;
} stream;

static stream streams[1024]; // of context id % 1024

static void need(u32 status, const char *what) {
	if (!status) return;
	text t = {.n = 0};
	add(&t, "WRONG: ");
	add(&t, what);
	add(&t, " gives ");
	add_number(&t, status);
	proxy_log(5, AT(t.b), t.n);
	__builtin_trap();
}

// header gives the first value of a header, or 0.
static const char *header(u32 map, const char *name, u32 *n) {
	u32 p = 0;
	u32 status = proxy_get_header_map_value(map, STR(name), AT(&p), AT(n));
	if (status != 1) need(status, name);
	return status ? 0 : (const char *)(uintptr_t)p;
}

EXPORT(proxy_on_context_create) void on_create(u32 id, u32 parent) {
	if (parent) streams[id % 1024] = (stream){id, 0, 0};
}

EXPORT(proxy_on_configure) u32 on_configure(u32 id, u32 n) {
	(void)id;
	u32 p = 0;
	if (n) need(proxy_get_buffer_bytes(7, 0, n, AT(&p), AT(&tag_size)), "configuration");
	if (tag_size > sizeof tag) return 0;
	memcpy(tag, (void *)(uintptr_t)p, tag_size);
	need(proxy_define_metric(0, STR("gate_c_requests"), AT(&requests)), "define metric");
	text t = {.n = 0};
	add(&t, "configured with ");
	add_bytes(&t, tag, tag_size);
	need(proxy_log(2, AT(t.b), t.n), "log");
	return 1;
}

static void refuse(const char *why) {
	static const char map[] = "\1\0\0\0" "\10\0\0\0\4\0\0\0" "x-reason\0gate\0";
	need(proxy_send_local_response(403, STR("gate"), STR(why), AT(map), sizeof map - 1, 0xffffffff), "local response");
}

static u32 ask(u32 id) {
	static const char map[] = "\3\0\0\0" "\7\0\0\0\3\0\0\0" "\5\0\0\0\6\0\0\0" "\12\0\0\0\10\0\0\0" ":method\0GET\0:path\0/check\0:authority\0web.test\0";
	need(proxy_http_call(STR("web"), AT(map), sizeof map - 1, 0, 0, 0, 0, 5000, AT(&streams[id % 1024].token)), "call");
	return 1;
}

EXPORT(proxy_on_request_headers) u32 on_request_headers(u32 id, u32 count, u32 last) {
	(void)count, (void)last;
	u32 n = 0;
	need(proxy_increment_metric(requests, 1), "count");
	const char *client = header(0, "x-client", &n);
	if (client && same(client, n, "bad")) {
		refuse("no");
		return 1;
	}
	need(proxy_replace_header_map_value(0, STR("x-tag"), AT(tag), tag_size), "tag");
	if (header(0, "x-replace", &n)) {
		streams[id % 1024].replace = 1;
		need(proxy_remove_header_map_value(0, STR("content-length")), "remove");
	}
	return header(0, "x-ask", &n) ? ask(id) : 0;
}

EXPORT(proxy_on_request_body) u32 on_request_body(u32 id, u32 size, u32 last) {
	if (!streams[id % 1024].replace) return 0;
	if (!last) return 1;
	static char body[1 << 16];
	u32 p = 0, n = 0;
	need(proxy_get_buffer_bytes(0, 0, size, AT(&p), AT(&n)), "body");
	if (n + 2 > sizeof body) return 0;
	body[0] = '[';
	memcpy(body + 1, (void *)(uintptr_t)p, n);
	body[n + 1] = ']';
	need(proxy_set_buffer_bytes(0, 0, size, AT(body), n + 2), "replace");
	return 0;
}

EXPORT(proxy_on_http_call_response) void on_call(u32 root, u32 token, u32 headers, u32 size, u32 trailers) {
	(void)root, (void)headers, (void)trailers;
	for (u32 i = 0; i < 1024; i++) {
		stream *s = &streams[i];
		if (s->token != token || !s->context) continue;
		s->token = 0;
		u32 p = 0, n = 0, bytes = 0;
		const char *status = header(6, ":status", &n);
		int good = status && same(status, n, "200");
		if (good) need(proxy_get_buffer_bytes(4, 0, size, AT(&p), AT(&bytes)), "answer");
		if (proxy_set_effective_context(s->context)) return; // the client has gone
		if (!good) {
			refuse("refused");
			return;
		}
		need(proxy_add_header_map_value(0, STR("x-checked"), p, bytes), "checked");
		need(proxy_continue_stream(0), "continue");
		return;
	}
}

EXPORT(proxy_on_response_headers) u32 on_response_headers(u32 id, u32 n, u32 last) {
	(void)id, (void)n, (void)last;
	need(proxy_add_header_map_value(2, STR("x-filter"), STR("c")), "mark");
	return 0;
}

EXPORT(proxy_on_log) void on_log(u32 id) {
	(void)id;
	u32 n = 0;
	const char *status = header(2, ":status", &n);
	text t = {.n = 0};
	add(&t, "answered ");
	if (status) add_bytes(&t, status, n);
	need(proxy_log(2, AT(t.b), t.n), "log");
}

EXPORT(proxy_on_delete) void on_delete(u32 id) { streams[id % 1024] = (stream){0, 0, 0}; }
