//go:build !race

package route

import (
	"testing"

	"github.com/weirproxy/weir/core/coretest/alloc"
	"github.com/weirproxy/weir/core/exchange"
)

func TestFindAllocatesNothing(t *testing.T) {
	table := MustCompile(t, large(1000)...)
	r := request("GET", "Host7.Example.COM.:8443", "/service7/things/42/parts")
	v6 := request("GET", "[2001:DB8::1]:81", "/nothing")
	var p exchange.Params
	alloc.Floor(t, func() {
		if table.Find(r, &p) < 0 || table.Find(v6, &p) >= 0 {
			t.Fatal("found the wrong one")
		}
	})
}
