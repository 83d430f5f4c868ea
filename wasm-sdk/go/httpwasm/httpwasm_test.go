package httpwasm

import (
	"strings"
	"testing"
	"unsafe"
)

func TestCut(t *testing.T) {
	f := func(list string, want ...string) {
		t.Helper()
		rest := []byte(list)
		for _, w := range want {
			if have := string(cut(&rest)); have != w {
				t.Errorf("%q: have %q, want %q", list, have, w)
			}
		}
		if len(rest) != 0 {
			t.Errorf("%q: %q left", list, rest)
		}
	}
	f("a\x00bc\x00", "a", "bc")
	f("\x00", "")
	f("a", "a") // a host that forgets the end
}

// host gives v as hosts do: whole or not at all, and its length.
func host(v string) func(p pointer, limit uint32) uint32 {
	return func(p pointer, limit uint32) uint32 {
		if len(v) <= int(limit) {
			copy(unsafe.Slice((*byte)(p), limit), v)
		}
		return uint32(len(v))
	}
}

func TestFill(t *testing.T) {
	for _, n := range []int{0, 1, 2048, 2049, 10_000, 5} {
		want := strings.Repeat("x", n)
		if have := string(fill(host(want))); have != want {
			t.Errorf("%d bytes of %d", len(have), n)
		}
		list, count := fillList(func(p pointer, limit uint32) uint64 { return 3<<32 | uint64(host(want)(p, limit)) })
		if string(list) != want || count != 3 {
			t.Errorf("%d bytes of %d, %d items", len(list), n, count)
		}
	}
}

func TestHandlers(t *testing.T) {
	if handleRequest() != 1 {
		t.Error("a filter without a handler stops requests")
	}
	handleResponse(true)
	var failed bool
	HandleRequest = func(Request, Response) bool { return Stop }
	HandleResponse = func(_ Request, _ Response, f bool) { failed = f }
	defer func() { HandleRequest, HandleResponse = nil, nil }()
	if handleRequest() != 0 {
		t.Error("passed on")
	}
	if handleResponse(true); !failed {
		t.Error("not told")
	}
}

func TestOutsideOfHost(t *testing.T) {
	defer func() {
		if recover() != alone {
			t.Error("no hint")
		}
	}()
	Request{}.Method()
}
