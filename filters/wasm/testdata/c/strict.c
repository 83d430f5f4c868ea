// A guest that calls every function of the host in every callback, with arguments that make sense, odd ones and garbage, and
// traps if a status comes back that a strict SDK does not survive.
#include "table.h"

EXPORT(proxy_abi_version_0_2_1) void marker(void) {}

static char arena[1 << 20];

EXPORT(proxy_on_memory_allocate) void *allocate(u32 n) { return n <= sizeof arena ? arena : 0; }

enum phase {
	START, CONFIGURE, CREATE_ROOT, CREATE, REQUEST_HEADERS, REQUEST_BODY, REQUEST_TRAILERS, RESPONSE_HEADERS, RESPONSE_BODY, RESPONSE_TRAILERS,
	TICK, CALL_RESPONSE, QUEUE_READY, GRPC, DONE, LOG, DELETE, DONE_ROOT, DELETE_ROOT, PHASES
};

static const char *const phases[PHASES] = {
	"start", "configure", "create_root", "create", "request_headers", "request_body", "request_trailers", "response_headers", "response_body",
	"response_trailers", "tick", "call_response", "queue_ready", "grpc", "done", "log", "delete", "done_root", "delete_root",
};

// What a parameter may be given. A word that a strict SDK has no way to say is garbage: the host may refuse it.
typedef struct {
	u32 value, size; // size: of what has a length
	int garbage;     // NOWHERE: not even memory
} word;

#define NOWHERE 2

static u32 root, live, dead;       // contexts
static u32 queue, metrics[3];      // what was registered
static int wild;                   // streams are ended where they want it, and by others
static unsigned char ends[256];    // by context: 1 + the phase in which it wants to be ended
static u32 rounds[PHASES];         // sweeps of what has no stream
static u32 paused[64], pauses;      // streams that wait for a tick
static char outs[256] __attribute__((aligned(8)));
static char long_text[5000];

static u32 end(void) { return (u32)__builtin_wasm_memory_size(0) << 16; }

#define V(v) (word){(v), 0, 0}
#define BAD(v) (word){(v), 0, 1}
#define LOST(v, n) (word){(v), (n), NOWHERE}
#define T(s) (word){AT(s), sizeof s - 1, 0}

// A map with the pseudo-headers of a call, one of an empty name and a value that splits, and ones that are none.
static const char call_map[] =
	"\4\0\0\0" "\7\0\0\0\3\0\0\0" "\5\0\0\0\2\0\0\0" "\12\0\0\0\10\0\0\0" "\1\0\0\0\1\0\0\0" ":method\0GET\0:path\0/s\0:authority\0web.test\0a\0b\0";
static const char odd_map[] = "\2\0\0\0" "\0\0\0\0\1\0\0\0" "\1\0\0\0\6\0\0\0" "\0x\0a\0b\r\nc:d\0";
static const char cut_map[] = "\4\0\0\0\7\0\0\0";
static const char huge_map[] = "\377\377\377\377\377\377\377\377\377\377\377\377";

// OUT stands for a place of its own in outs.
#define OUT 0xfffffffe

static int has_length(char role) {
	for (const char *r = "LkwHBudfNKqI"; *r; r++)
		if (*r == role) return 1;
	return 0;
}

// words lists what a parameter of a role may be: the first is what makes the most sense.
static int words(char role, word *w) {
	int n = 0;
#define W(...) w[n++] = __VA_ARGS__
	switch (role) {
	case 'v': for (u32 i = 1; i < 6; i++) W(V(i)); W(V(0)); W(BAD(6)); W(BAD(0xffffffff)); break;
	case 'b': for (u32 i = 0; i < 9; i++) W(V(i)); W(BAD(9)); W(BAD(0x80000000)); break;
	case 'm': for (u32 i = 0; i < 8; i++) W(V(i)); W(BAD(8)); W(BAD(0xffffffff)); break;
	case 's': for (u32 i = 0; i < 4; i++) W(V(i)); W(BAD(4)); W(BAD(0xffffffff)); break;
	case 'M': for (u32 i = 0; i < 3; i++) W(V(i)); W(BAD(3)); W(BAD(0xffffffff)); break;
	case 'i': for (u32 i = 0; i < 3; i++) W(V(metrics[i])); W(V(0)); W(V(12345)); W(V(0xffffffff)); break;
	case 'Q': W(V(queue)); W(V(0)); W(V(12345)); W(V(0xffffffff)); break;
	case 'c': W(V(root)); W(V(dead)); W(V(0)); W(V(0x7fffffff)); W(V(0xffffffff)); if (wild) W(V(live)); break;
	case 'g': W(V(1)); W(V(0)); W(V(2)); W(V(3)); W(V(0xffffffff)); break;
	case 't': W(V(20)); W(V(0)); W(V(0xffffffff)); break;
	case 'S': W(V(403)); W(V(200)); W(V(204)); W(V(0)); W(V(99)); W(V(101)); W(V(1000)); W(V(0xffffffff)); break;
	case 'G': W(V(0xffffffff)); W(V(0)); W(V(7)); W(V(99)); break;
	case 'C': W(V(0)); W(V(1)); W(V(0xffffffff)); break;
	case 'n': W(V(0)); W(V(1)); W(V(0x7fffffff)); W(V(0xffffffff)); break;
	case 'x': W(V(1)); W(V(0)); W(V(0xffffffff)); break;
	case 'o': W(V(OUT)); W(BAD(0)); W(LOST(0xffffffff, 0)); W(LOST(end() - 3, 0)); W(LOST(end(), 0)); break;
	case 'O': W(V(OUT)); W(BAD(0)); W(LOST(0xffffffff, 0)); W(LOST(end() - 7, 0)); W(LOST(end(), 0)); break;
	case 'L': W(T("strict")); W(T("")); W(T("a\0b\r\n\377")); break;
	case 'k': W(T("x-strict")); W(T(":path")); W(T(":authority")); W(T(":status")); W(T("host")); W(T("content-length")); W(T("X-Upper")); W(T("none")); W(T(""));
		W(T("a b")); W(T("a\r\nb")); W(T("\377\0")); W((word){AT(long_text), sizeof long_text, 0}); break;
	case 'w': W(T("value")); W(T("")); W(T("a\r\nb: c")); W(T("\0")); W(T("\377\376")); W((word){AT(long_text), sizeof long_text, 0}); break;
	case 'H': W(T(call_map)); W(T("")); W(T("\0\0\0\0")); W(T(odd_map)); W(T(cut_map)); W(T(huge_map)); W(T("\0")); break;
	case 'B': W(T("some bytes")); W(T("")); W(T("\0\377")); W((word){AT(long_text), sizeof long_text, 0}); break;
	case 'u': W(T("web")); W(T("nobody")); W(T("")); W(T("w\0b")); break;
	case 'd': W(T("request\0path")); W(T("plugin_root_id")); W(T("")); W(T("\0")); W(T("\0\0\0")); W(T("request\0path\0")); W(T("request")); W(T("request\0headers"));
		W(T("request\0headers\0x-strict")); W(T("request\0time")); W(T("response\0code")); W(T("response\0code_details")); W(T("connection\0mtls"));
		W(T("source\0address")); W(T("upstream\0address")); W(T("route_metadata")); W(T("xds\0route_name")); W(T("wasm.own")); W(T("own")); W(T("no\0such\0thing"));
		W(T("\377")); W((word){AT(long_text), sizeof long_text, 0}); break;
	case 'f': W(T("compress")); W(T("uncompress")); W(T("clear_route_cache")); W(T("set_envoy_filter_state")); W(T("nothing")); W(T("")); W(T("\377\0")); break;
	case 'N': W(T("strict_metric")); W(T("")); W(T("a b{c=\"d\"}\n")); W(T("\377\0")); W((word){AT(long_text), 300, 0}); break;
	case 'K': W(T("key")); W(T("")); W(T("\0\377")); W(T("absent")); break;
	case 'q': W(T("strict_queue")); W(T("")); W(T("\0\377")); break;
	case 'I': W(T("")); W(T("strict")); W(T("nobody")); break;
	}
	if (has_length(role)) {
		W(LOST(0xffffffff, 10));
		W(LOST(end() - 1, 10));
		W(LOST(end(), 1));
		W(LOST(w[0].value, 0xffffffff));
		W(LOST(0xffffffff, 0xffffffff));
	}
	return n;
}

static u32 calls, violations, own;
static enum phase now;

// count adds to a metric: the log is bounded, and so is no place for what must not get lost.
static void count(const text *t, u32 n) {
	u32 id = 0;
	if (proxy_define_metric(0, AT(t->b), t->n, AT(&id)) || proxy_increment_metric(id, n)) __builtin_trap();
}

static u32 complaints[FUNCTION_COUNT];

static void complain(u32 f, const u32 *a, u32 status) {
	violations++;
	if (complaints[f]++ >= 2) return;
	text t = {.n = 0};
	add(&t, "strict_wrong_");
	add(&t, functions[f].name);
	add(&t, "_in_");
	add(&t, phases[now]);
	add(&t, "_gives_");
	add_number(&t, status);
	count(&t, 1);
	t.n = 0;
	add(&t, "WRONG: ");
	add(&t, functions[f].name);
	add(&t, " in ");
	add(&t, phases[now]);
	add(&t, " gives ");
	add_number(&t, status);
	add(&t, " for");
	for (int i = 0; i < (functions[f].parameters < 0 ? 2 : functions[f].parameters); i++) {
		add(&t, " ");
		add_number(&t, a[i]);
	}
	proxy_log(4, AT(t.b), t.n);
}

static int ends_streams(u32 f) { return f == F_proxy_send_local_response || f == F_proxy_close_stream; }

// attempt calls f with the words that are chosen for its parameters.
static void attempt(u32 f, const word *chosen) {
	u32 a[12] = {0};
	int64_t x = 0;
	int n = 0, out = 0, garbage = 0;
	for (const char *r = functions[f].roles; *r; r++, chosen++) {
		if (chosen->garbage > garbage) garbage = chosen->garbage;
		if (*r == 'x') x = (int64_t)(int32_t)chosen->value;
		a[n++] = (*r == 'o' || *r == 'O') && chosen->value == OUT ? AT(outs + 16 * out++) : chosen->value;
		if (has_length(*r)) a[n++] = chosen->size;
	}
	u32 status = call(f, a, x);
	calls++;
	u32 allowed = functions[f].statuses | (garbage ? ST(1) | ST(2) | ST(6) : 0);
	// What there is no memory for cannot have gone well; but a body, which is not there yet, the host need not look at, nor where a
	// result that is not wanted (0) would go.
	int unseen = f == F_proxy_set_buffer_bytes || (f == F_proxy_call_foreign_function && (!a[4] || !a[5]));
	if (garbage == NOWHERE && now == REQUEST_HEADERS && !unseen) allowed &= ~OK;
	if (status > 31 || !(allowed & ST(status))) complain(f, a, status);
	if (f == F_proxy_set_effective_context) proxy_set_effective_context(own);
	if (f == F_proxy_set_tick_period_milliseconds) proxy_set_tick_period_milliseconds(20);
}

static u32 seed = 1;

static u32 chance(u32 n) {
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

// each calls f with what makes sense, then with every other word for each of its parameters, one at a time, and then with some for
// all of them by chance.
static void each(u32 f) {
	word all[12][32], chosen[12];
	int counts[12], n = 0;
	for (const char *r = functions[f].roles; *r; r++, n++) {
		counts[n] = words(*r, all[n]);
		chosen[n] = all[n][0];
	}
	attempt(f, chosen);
	for (int i = 0; i < n; i++) {
		for (int j = 1; j < counts[i]; j++) {
			chosen[i] = all[i][j];
			attempt(f, chosen);
		}
		chosen[i] = all[i][0];
	}
	for (int j = 0; n > 1 && j < 20; j++) {
		for (int i = 0; i < n; i++) chosen[i] = all[i][chance((u32)counts[i])];
		attempt(f, chosen);
	}
}

static char kept[2][8192];
static u32 kept_size[2];

// keep remembers a map, and restore puts it back, so that a request survives what is done to it.
static void keep(int i, u32 map) {
	u32 p = 0, n = 0;
	kept_size[i] = 0;
	if (proxy_get_header_map_pairs(map, AT(&p), AT(&n)) == 0 && n <= sizeof kept[i]) {
		memcpy(kept[i], (void *)(uintptr_t)p, n);
		kept_size[i] = n;
	}
}

static void restore(int i, u32 map) {
	if (kept_size[i]) proxy_set_header_map_pairs(map, AT(kept[i]), kept_size[i]);
}

static u32 logged;
static int may_end; // what ends streams is called, too

static void all_functions(void) {
	for (u32 f = 0; f < FUNCTION_COUNT; f++) {
		if (f == F_proxy_log && logged++ >= 4) continue; // more would not be written
		if (may_end || !ends_streams(f)) each(f);
	}
}

static void sweep(enum phase p, u32 context) {
	now = p;
	own = context;
	calls = 0;
	int stream = context != root;
	if (!stream && rounds[p]++ >= 3) return;
	if (stream) keep(0, 0), keep(1, 2);
	may_end = wild && (!stream || ends[context % 256] == p + 1 || (p == CREATE && context % 16 == 0));
	all_functions();
	// The same from another context: a stream's from the plugin's, the plugin's from a stream's that lives or has gone.
	u32 other = stream ? root : wild ? live : dead;
	if (other && proxy_set_effective_context(other) == 0) {
		own = other;
		all_functions();
		own = context;
		proxy_set_effective_context(context);
	}
	if (stream && !wild) restore(0, 0), restore(1, 2);
	text t = {.n = 0};
	add(&t, "strict_calls_in_");
	add(&t, phases[p]);
	count(&t, calls);
	if (violations) __builtin_trap();
}

// note_end remembers in which phase the request wants to be ended: its header ends is the phase's name.
static void note_end(u32 context) {
	u32 at = 0, n = 0;
	ends[context % sizeof ends] = 0;
	if (proxy_get_header_map_value(0, STR("ends"), AT(&at), AT(&n)) != 0) return;
	for (u32 p = 0; p < PHASES; p++)
		if (same((const char *)(uintptr_t)at, n, phases[p])) ends[context % 256] = (unsigned char)(p + 1);
}

// pauses_here says whether the request wants to be held in this phase: its header hold is the phase's name.
static u32 pauses_here(u32 context, enum phase p) {
	u32 at = 0, n = 0;
	if (proxy_get_header_map_value(0, STR("hold"), AT(&at), AT(&n)) != 0) return 0;
	if (!same((const char *)(uintptr_t)at, n, phases[p]) || pauses == sizeof paused / sizeof *paused) return 0;
	paused[pauses++] = context;
	return 1;
}

EXPORT(proxy_on_context_create) void on_create(u32 id, u32 parent) {
	if (!parent) {
		root = id;
		for (u32 i = 0; i < sizeof long_text; i++) long_text[i] = 'x';
	} else {
		live = id;
	}
	sweep(parent ? CREATE : CREATE_ROOT, id);
}

EXPORT(proxy_on_vm_start) u32 on_start(u32 id, u32 n) {
	(void)n;
	sweep(START, id);
	return 1;
}

EXPORT(proxy_on_configure) u32 on_configure(u32 id, u32 n) {
	u32 at = 0, got = 0;
	if (n && proxy_get_buffer_bytes(7, 0, n, AT(&at), AT(&got)) == 0) wild = same((const char *)(uintptr_t)at, got, "wild");
	if (proxy_register_shared_queue(STR("strict_queue"), AT(&queue))) __builtin_trap();
	for (u32 i = 0; i < 3; i++)
		if (proxy_define_metric(i, STR("strict_defined") - i, AT(&metrics[i]))) __builtin_trap();
	sweep(CONFIGURE, id);
	proxy_set_tick_period_milliseconds(20);
	return 1;
}

#define ON(name, phase) \
	EXPORT(name) u32 name(u32 id, u32 n, u32 last) { \
		(void)n, (void)last; \
		if (phase == REQUEST_HEADERS) note_end(id); \
		u32 hold = pauses_here(id, phase); \
		sweep(phase, id); \
		return hold; \
	}
ON(proxy_on_request_headers, REQUEST_HEADERS)
ON(proxy_on_request_body, REQUEST_BODY)
ON(proxy_on_response_headers, RESPONSE_HEADERS)
ON(proxy_on_response_body, RESPONSE_BODY)

EXPORT(proxy_on_request_trailers) u32 on_request_trailers(u32 id, u32 n) {
	(void)n;
	u32 hold = pauses_here(id, REQUEST_TRAILERS);
	sweep(REQUEST_TRAILERS, id);
	return hold;
}

EXPORT(proxy_on_response_trailers) u32 on_response_trailers(u32 id, u32 n) {
	(void)n;
	u32 hold = pauses_here(id, RESPONSE_TRAILERS);
	sweep(RESPONSE_TRAILERS, id);
	return hold;
}

EXPORT(proxy_on_tick) void on_tick(u32 id) {
	sweep(TICK, id);
	now = TICK;
	while (pauses) {
		own = paused[--pauses];
		if (proxy_set_effective_context(own)) continue;
		may_end = 1;
		if (wild) all_functions();
		if (proxy_continue_stream(0) || proxy_continue_stream(1)) violations++;
	}
	own = id;
	proxy_set_effective_context(id);
	if (!rounds[QUEUE_READY]) proxy_enqueue_shared_queue(queue, STR("for queue_ready")); // what sweeps put there they also took
	if (violations) __builtin_trap();
}

EXPORT(proxy_on_http_call_response) void on_call(u32 id, u32 token, u32 headers, u32 size, u32 trailers) {
	(void)token, (void)headers, (void)size, (void)trailers;
	sweep(CALL_RESPONSE, id);
}

EXPORT(proxy_on_queue_ready) void on_queue(u32 id, u32 token) {
	(void)token;
	sweep(QUEUE_READY, id);
}

#define ON_GRPC(name) \
	EXPORT(name) void name(u32 id, u32 token, u32 n) { \
		(void)token, (void)n; \
		sweep(GRPC, id); \
	}
ON_GRPC(proxy_on_grpc_receive_initial_metadata)
ON_GRPC(proxy_on_grpc_receive)
ON_GRPC(proxy_on_grpc_receive_trailing_metadata)
ON_GRPC(proxy_on_grpc_close)

EXPORT(proxy_on_done) u32 on_done(u32 id) {
	sweep(id == root ? DONE_ROOT : DONE, id);
	return 1;
}

EXPORT(proxy_on_log) void on_log(u32 id) { sweep(LOG, id); }

EXPORT(proxy_on_delete) void on_delete(u32 id) {
	sweep(id == root ? DELETE_ROOT : DELETE, id);
	dead = id;
}
