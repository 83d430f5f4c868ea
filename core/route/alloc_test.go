//go:build !race

package route

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
)

func TestFindAllocatesNothing(t *testing.T) {
	table := MustCompile(t, large(1000)...)
	r := request("GET", "Host7.Example.COM.:8443", "/service7/things/42/parts")
	v6 := request("GET", "[2001:DB8::1]:81", "/nothing")
	var p exchange.Params
	floor(t, func() {
		if table.Find(r, &p) < 0 || table.Find(v6, &p) >= 0 {
			t.Fatal("found the wrong one")
		}
	})
}

// floor fails unless the least of five windows of 1,000 calls allocates nothing.
func floor(t *testing.T, call func()) {
	t.Helper()
	for range 1000 {
		call()
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	least := ^uint64(0)
	var before, after runtime.MemStats
	for range 5 {
		runtime.ReadMemStats(&before)
		for range 1000 {
			call()
		}
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	if least != 0 {
		t.Errorf("%d allocations in 1,000 calls", least)
	}
}
