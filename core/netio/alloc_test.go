//go:build linux && (amd64 || arm64) && !weir_plainio

package netio_test

import (
	"net"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/coretest/alloc"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/pool"
)

func TestCallsAllocateNothing(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	x, y := netio.New(a), netio.New(b)
	defer x.Close()
	defer y.Close()
	p := make([]byte, 100)
	x.PaceWrites(1 << 10)
	y.PaceReads(1 << 10)
	alloc.Floor(t, func() {
		now := clock.Nano()
		x.WriteBy(now, time.Minute)
		y.ReadBy(now, time.Minute)
		_, werr := x.Write(p)
		n, rerr := y.Read(p)
		werr2 := x.WriteAll(p[:20], p[:25], p[:5])
		buf, m, perr := y.ReadPooled(pool.Small)
		pool.Release(buf)
		y.ReadBy(now, time.Second)
		y.ReadBy(now, 0)
		if werr != nil || rerr != nil || werr2 != nil || perr != nil || n != 100 || m != 50 || !y.Quiet() {
			t.Fatal(n, m, werr, rerr, perr)
		}
	})
}
