// A guest that is odd in one way or several, by what is defined: how its version is told, how it gets memory, how it starts, what
// it imports. It tells in the header x-odd of each answer what it has seen. A request with a header hold waits for a tick; one with
// headers action or data gets these numbers as what its callbacks return, and is resumed by a tick.
#include "proxy.h"

static text note;
static u32 root;

static void note_number(const char *what, u32 v) {
	add(&note, what);
	add(&note, "=");
	add_number(&note, v);
	add(&note, ";");
}

// How the version is told.
#if defined(MARK_0_1_0)
EXPORT(proxy_abi_version_0_1_0) void marker(void) {}
#elif defined(MARK_0_2_0)
EXPORT(proxy_abi_version_0_2_0) void marker(void) {}
#elif !defined(UNMARKED)
EXPORT(proxy_abi_version_0_2_1) void marker(void) {}
#endif

// Where memory comes from.
static char ring[1 << 18];
static u32 used, mallocs, allocations;

static void *take(u32 n) {
	if (n > sizeof ring) return 0;
	if (n > sizeof ring - used) used = 0;
	void *p = ring + used;
	used += (n + 7) & ~7u;
	return p;
}

#if defined(GROWING)
EXPORT(proxy_on_memory_allocate) void *allocate(u32 n) {
	mallocs++;
	return (void *)(__builtin_wasm_memory_grow(0, (n + 65535) >> 16) << 16);
}
#elif defined(NULL_ALLOCATOR)
EXPORT(proxy_on_memory_allocate) void *allocate(u32 n) {
	(void)n;
	return 0;
}
#elif defined(MALLOC) || defined(BOTH_ALLOCATORS)
EXPORT(malloc) void *old_allocate(u32 n) {
	mallocs++;
	return take(n);
}
#endif
#if defined(BOTH_ALLOCATORS) || !(defined(GROWING) || defined(NULL_ALLOCATOR) || defined(MALLOC) || defined(NO_ALLOCATOR))
EXPORT(proxy_on_memory_allocate) void *new_allocate(u32 n) {
	allocations++;
	return take(n);
}
#endif

// What starts it.
static u32 started;

#if defined(START)
EXPORT(_start) void start(void) { started += 1; }
#endif
#if defined(INITIALIZE)
EXPORT(_initialize) void initialize(void) { started += 10; }
EXPORT(main) u32 start_main(u32 n, u32 args) {
	started = started * 10 + n + args;
	return 0;
}
#endif
#if defined(EARLY)
EXPORT(_initialize) void initialize(void) {
	u32 a = 0, b = 0;
	started = !!proxy_get_header_map_pairs(0, AT(&a), AT(&b)) + !!proxy_set_buffer_bytes(0, 0, 0, STR("x")) + !!proxy_continue_stream(0);
	proxy_log(2, STR("early"));
}
#endif

// What it imports beside.
#if defined(VOID_CONTINUE)
IMPORT(proxy_continue_request) void continue_without_result(void);
#define RESUME (continue_without_result(), 0)
#elif defined(OLD_CONTINUE)
#define RESUME proxy_continue_request()
#else
#define RESUME (proxy_continue_stream(0) | proxy_continue_stream(1))
#endif

#if defined(GRPC10)
IMPORT(proxy_grpc_call) u32 grpc_call_of_ten(P10);
static void extra(void) {
	u32 id = 0;
	note_number("grpc", grpc_call_of_ten(STR("web"), STR("service"), STR("method"), STR("message"), 1000, AT(&id)) != 0);
}
#elif defined(WASI_UNSTABLE)
__attribute__((import_module("wasi_unstable"), import_name("fd_write"))) extern u32 fd_write(u32 fd, u32 parts, u32 count, u32 written);
static void extra(void) {
	static char out[] = "standard output\n", err[] = "standard error\n";
	u32 parts[] = {AT(out), sizeof out - 1, AT(err), sizeof err - 1}, n = 0;
	note_number("out", fd_write(1, AT(parts), 1, AT(&n)));
	note_number("err", fd_write(2, AT(parts + 2), 1, AT(&n)));
	note_number("written", n);
	note_number("other", fd_write(7, AT(parts), 1, AT(&n)));
}
#elif defined(EMSCRIPTEN)
IMPORT(pthread_equal) u32 pthread_equal(u32, u32);
IMPORT(emscripten_notify_memory_growth) void emscripten_notify_memory_growth(u32);
static void extra(void) {
	note_number("equal", pthread_equal(5, 5) * 10 + pthread_equal(5, 6));
	emscripten_notify_memory_growth(0);
	note_number("done", proxy_continue_stream(0));
}
#elif defined(REDIS)
IMPORT(proxy_redis_init) u32 proxy_redis_init(P6, u32);
IMPORT(proxy_redis_call) u32 proxy_redis_call(P5);
IMPORT(proxy_inject_encoded_data_to_filter_chain) u32 proxy_inject_encoded_data_to_filter_chain(P3);
IMPORT(proxy_get_upstream_hosts) u32 proxy_get_upstream_hosts(P2);
IMPORT(proxy_set_upstream_override_host) u32 proxy_set_upstream_override_host(P2);
static const void *volatile imported[] = {(void *)proxy_redis_init, (void *)proxy_redis_call, (void *)proxy_inject_encoded_data_to_filter_chain,
	(void *)proxy_get_upstream_hosts, (void *)proxy_set_upstream_override_host};
static void extra(void) { note_number("imported", imported[0] != imported[1]); }
#elif defined(UNKNOWN)
IMPORT(proxy_of_the_future) u32 proxy_of_the_future(P3);
__attribute__((import_module("elsewhere"), import_name("thing"))) extern double elsewhere(float, int64_t);
static void extra(void) {
	note_number("future", proxy_of_the_future(1, 2, 3) != 0);
	note_number("thing", elsewhere(1, 2) == 0);
}
#else
static void extra(void) {}
#endif

static char config[64];
static u32 config_size;

EXPORT(proxy_on_context_create) void on_create(u32 id, u32 parent) {
	if (!parent) root = id;
}

EXPORT(proxy_on_vm_start) u32 on_start(u32 id, u32 n) {
	(void)id, (void)n;
	return 1;
}

EXPORT(proxy_on_configure) u32 on_configure(u32 id, u32 n) {
	(void)id;
	u32 p = 0, got = 0;
#if defined(OLD_CONFIGURATION)
	u32 status = proxy_get_configuration(AT(&p), AT(&got));
	if (got != n) return 0;
#else
	u32 status = proxy_get_buffer_bytes(7, 0, n, AT(&p), AT(&got));
#endif
	note_number("config", status);
	if (!status && got <= sizeof config) memcpy(config, (void *)(uintptr_t)p, config_size = got);
	add_bytes(&note, config, config_size);
	add(&note, ";");
	note_number("started", started);
	extra();
	proxy_set_tick_period_milliseconds(20);
	return 1;
}

static u32 held[64], holds;

// wants gives the digit in a header of the request, or nothing.
static u32 wants(const char *name, u32 nothing) {
	u32 p = 0, n = 0;
	if (proxy_get_header_map_value(0, STR(name), AT(&p), AT(&n)) || n != 1) return nothing;
	return (u32)(*(const char *)(uintptr_t)p - '0');
}

static u32 on_headers(u32 id) {
	u32 p = 0, n = 7;
	u32 missing = proxy_get_header_map_value(0, STR("x-missing"), AT(&p), AT(&n));
	if (missing == 0 && n) missing = 99;
	u32 before = note.n;
	note_number("missing", missing);
	proxy_replace_header_map_value(0, STR("x-note"), AT(note.b + before), note.n - before);
	note.n = before;
	u32 action = wants("hold", wants("action", 0));
	if (action && action != 2 && holds < 64) held[holds++] = id;
	return action;
}

static u32 tell(void) {
	u32 before = note.n;
	note_number("allocators", (mallocs > 0) + (allocations > 0));
	proxy_add_header_map_value(2, STR("x-odd"), AT(note.b), note.n);
	note.n = before;
	return 0;
}

#if defined(TWO_PARAMETERS)
EXPORT(proxy_on_request_headers) u32 on_request_headers(u32 id, u32 n) {
	(void)n;
	return on_headers(id);
}
EXPORT(proxy_on_response_headers) u32 on_response_headers(u32 id, u32 n) {
	(void)id, (void)n;
	return tell();
}
#else
EXPORT(proxy_on_request_headers) u32 on_request_headers(u32 id, u32 n, u32 last) {
	(void)n, (void)last;
	return on_headers(id);
}
EXPORT(proxy_on_response_headers) u32 on_response_headers(u32 id, u32 n, u32 last) {
	(void)id, (void)n, (void)last;
	return tell();
}
#endif

EXPORT(proxy_on_request_body) u32 on_request_body(u32 id, u32 n, u32 last) {
	(void)n;
	u32 action = wants("data", 0);
	if (action && last && holds < 64) held[holds++] = id;
	return action;
}

static u32 leaving; // the plugin has been told that it is over

EXPORT(proxy_on_tick) void on_tick(u32 id) {
	(void)id;
#if !defined(NEVER_DONE)
	if (leaving) {
		proxy_log(2, STR("now"));
		if (proxy_done()) proxy_log(5, STR("WRONG: not done"));
	}
#endif
	leaving = 0;
	while (holds) {
		if (proxy_set_effective_context(held[--holds])) continue;
		proxy_replace_header_map_value(0, STR("x-held"), STR("1"));
		if (RESUME) proxy_log(5, STR("WRONG: not resumed"));
	}
}

#if defined(PENDING) || defined(NEVER_DONE)
EXPORT(proxy_on_done) u32 on_done(u32 id) {
	if (id != root) return 1;
	proxy_log(2, STR("not yet"));
	leaving = 1;
	return 0;
}

EXPORT(proxy_on_delete) void on_delete(u32 id) {
	if (id == root) proxy_log(2, STR("deleted"));
}
#endif
