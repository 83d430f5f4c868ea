// The host's functions by number.
#pragma once
#include "proxy.h"

typedef struct {
	const char *name;
	const void *address;
	int parameters;
	u32 statuses;
	const char *roles;
} function;

// PARAMETERS_P3 is 3, and so on.
enum {
	PARAMETERS_P0 = 0, PARAMETERS_P1 = 1, PARAMETERS_P2 = 2, PARAMETERS_P3 = 3, PARAMETERS_P4 = 4, PARAMETERS_P5 = 5, PARAMETERS_P6 = 6,
	PARAMETERS_P8 = 8, PARAMETERS_P9 = 9, PARAMETERS_P10 = 10, PARAMETERS_P12 = 12, PARAMETERS_PX = -1,
};

static const function functions[] = {
#define ROW(name, params, statuses, roles) {#name, (const void *)name, PARAMETERS_##params, statuses, roles},
	FUNCTIONS(ROW)
#undef ROW
};

enum {
#define NUMBER(name, params, statuses, roles) F_##name,
	FUNCTIONS(NUMBER)
#undef NUMBER
	FUNCTION_COUNT
};

// call calls a function with as many arguments as it takes; a is 12 of them, of which only x is used with all of its bits.
static u32 call(u32 f, const u32 *a, int64_t x) {
	const void *p = functions[f].address;
	switch (functions[f].parameters) {
	case 0: return ((u32 (*)(P0))p)();
	case 1: return ((u32 (*)(P1))p)(a[0]);
	case 2: return ((u32 (*)(P2))p)(a[0], a[1]);
	case 3: return ((u32 (*)(P3))p)(a[0], a[1], a[2]);
	case 4: return ((u32 (*)(P4))p)(a[0], a[1], a[2], a[3]);
	case 5: return ((u32 (*)(P5))p)(a[0], a[1], a[2], a[3], a[4]);
	case 6: return ((u32 (*)(P6))p)(a[0], a[1], a[2], a[3], a[4], a[5]);
	case 8: return ((u32 (*)(P8))p)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
	case 9: return ((u32 (*)(P9))p)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]);
	case 10: return ((u32 (*)(P10))p)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]);
	case 12: return ((u32 (*)(P12))p)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11]);
	case -1: return ((u32 (*)(PX))p)(a[0], x);
	}
	__builtin_unreachable();
}
