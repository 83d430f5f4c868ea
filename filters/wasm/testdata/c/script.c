// A guest that does what a script tells it, in the callbacks that the script is for. A request carries one in hexadecimal digits
// in its header x-script; what has no request of its own runs that of the last one, and its configuration before there is any.
//
// A script: the phases that it is for, a bit each, in 4 bytes; the size of its texts, in 2 bytes; the texts; the calls. A call: the
// number of a function, then for each parameter a byte and 4 bytes, which are the argument (0), or added to where the texts
// begin (1), to the end of memory (2), to where results go (3), or to a result (4). All numbers are little endian.
#include "table.h"

EXPORT(proxy_abi_version_0_2_1) void marker(void) {}

static char arena[1 << 19];
static u32 used;

static void runs_in_allocator(void);

EXPORT(malloc) void *allocate(u32 n) {
	runs_in_allocator();
	if (n > sizeof arena) return 0;
	if (used + n > sizeof arena) used = 0;
	void *p = arena + used;
	used += (n + 7) & ~7u;
	return p;
}

#define MOST 16384
#define IN_ALLOCATOR 20
#define STREAMS 256

typedef struct {
	u32 size;
	unsigned char b[MOST];
} script;

static script scripts[STREAMS]; // by context, which is no more than a hint: a later one takes the place
static script last;
static u32 outs[64];
static u32 root;
static u32 fresh; // no stream has begun since there was a new last

static u32 number(const unsigned char *p, int n) {
	u32 v = 0;
	while (n--) v = v << 8 | p[n];
	return v;
}

static int digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

static void load(script *s, const char *hex, u32 n) {
	s->size = n / 2 > MOST ? MOST : n / 2;
	for (u32 i = 0; i < s->size; i++) s->b[i] = (unsigned char)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
}

static u32 argument(const unsigned char *p, u32 texts) {
	u32 v = number(p + 1, 4);
	switch (*p) {
	case 1: return texts + v;
	case 2: return ((u32)__builtin_wasm_memory_size(0) << 16) + v;
	case 3: return AT(outs) + v;
	case 4: return outs[v % 64];
	}
	return v;
}

// run does what s says for a phase, of which there are as many as bits.
static void run(const script *s, u32 phase) {
	if (s->size < 6 || !(number(s->b, 4) >> phase & 1)) return;
	u32 texts = AT(s->b + 6), i = 6 + number(s->b + 4, 2), done = 0;
	while (i < s->size && done++ < 512) {
		u32 f = s->b[i++] % FUNCTION_COUNT, a[12] = {0};
		int n = functions[f].parameters < 0 ? 2 : functions[f].parameters;
		if (i + 5 * (u32)n > s->size) break;
		for (int j = 0; j < n; j++, i += 5) a[j] = argument(s->b + i, texts);
		call(f, a, (int64_t)(int32_t)a[1] << (a[0] & 31));
	}
	if (phase == IN_ALLOCATOR) return; // the context of who has asked for memory stays
	u32 id = 0;
	if (proxy_define_metric(0, STR("script_calls"), AT(&id)) == 0) proxy_increment_metric(id, done);
	proxy_set_effective_context(root);
	proxy_set_tick_period_milliseconds(25);
}

static void runs_in_allocator(void) {
	static u32 inside;
	if (inside) return;
	inside = 1;
	run(&last, IN_ALLOCATOR);
	inside = 0;
}

EXPORT(proxy_on_context_create) void on_create(u32 id, u32 parent) {
	if (!parent) root = id, run(&last, 1);
	else if (fresh) fresh = 0, run(&last, 0); // once: a script that ends the stream here would keep all that follow from coming
}

EXPORT(proxy_on_vm_start) u32 on_start(u32 id, u32 n) {
	(void)id, (void)n;
	run(&last, 2);
	return 1;
}

EXPORT(proxy_on_configure) u32 on_configure(u32 id, u32 n) {
	(void)id;
	u32 at = 0, got = 0;
	if (n && proxy_get_buffer_bytes(7, 0, n, AT(&at), AT(&got)) == 0) load(&last, (const char *)(uintptr_t)at, got);
	run(&last, 3);
	proxy_set_tick_period_milliseconds(25);
	return 1;
}

// The action of a stream's callback is what the script's last byte says, most often to go on.
static u32 action(const script *s) { return s->size && s->b[s->size - 1] < 6 ? s->b[s->size - 1] : 0; }

EXPORT(proxy_on_request_headers) u32 on_request_headers(u32 id, u32 n, u32 end) {
	(void)n, (void)end;
	script *s = &scripts[id % STREAMS];
	u32 at = 0, got = 0;
	s->size = 0;
	if (proxy_get_header_map_value(0, STR("x-script"), AT(&at), AT(&got)) == 0) load(s, (const char *)(uintptr_t)at, got), last = *s, fresh = 1;
	run(s, 4);
	return action(s);
}

#define ON(name, phase) \
	EXPORT(name) u32 name(u32 id, u32 n, u32 end) { \
		(void)n, (void)end; \
		run(&scripts[id % STREAMS], phase); \
		return action(&scripts[id % STREAMS]); \
	}
ON(proxy_on_request_body, 5)
ON(proxy_on_response_headers, 7)
ON(proxy_on_response_body, 8)

#define ON_TRAILERS(name, phase) \
	EXPORT(name) u32 name(u32 id, u32 n) { \
		(void)n; \
		run(&scripts[id % STREAMS], phase); \
		return action(&scripts[id % STREAMS]); \
	}
ON_TRAILERS(proxy_on_request_trailers, 6)
ON_TRAILERS(proxy_on_response_trailers, 9)

EXPORT(proxy_on_tick) void on_tick(u32 id) {
	(void)id;
	run(&last, 10);
}

EXPORT(proxy_on_http_call_response) void on_call(u32 id, u32 token, u32 headers, u32 size, u32 trailers) {
	(void)id, (void)token, (void)headers, (void)size, (void)trailers;
	run(&last, 11);
}

EXPORT(proxy_on_queue_ready) void on_queue(u32 id, u32 token) {
	(void)id, (void)token;
	run(&last, 12);
}

#define ON_RPC(name, phase) \
	EXPORT(name) void name(u32 id, u32 token, u32 n) { \
		(void)id, (void)token, (void)n; \
		run(&last, phase); \
	}
ON_RPC(proxy_on_grpc_receive_initial_metadata, 16)
ON_RPC(proxy_on_grpc_receive, 17)
ON_RPC(proxy_on_grpc_receive_trailing_metadata, 18)
ON_RPC(proxy_on_grpc_close, 19)

EXPORT(proxy_on_done) u32 on_done(u32 id) {
	run(id == root ? &last : &scripts[id % STREAMS], 13);
	return 1;
}

EXPORT(proxy_on_log) void on_log(u32 id) { run(&scripts[id % STREAMS], 14); }

EXPORT(proxy_on_delete) void on_delete(u32 id) { run(id == root ? &last : &scripts[id % STREAMS], 15); }
