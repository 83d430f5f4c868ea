package h2

import (
	"strconv"
	"testing"

	"github.com/weirproxy/weir/core/coretest/alloc"
	"github.com/weirproxy/weir/core/exchange"
)

// TestEncoder: what comes again is one byte from the third time on; what is different each time neither pushes it out of the
// table nor is kept.
func TestEncoder(t *testing.T) {
	var e encoder
	e.init(false)
	name, value := []byte("x-same"), []byte("a value that is the same each time")
	size := func() int {
		e.begin()
		e.field(name, value, exchange.Other)
		return len(e.block)
	}
	size()
	size()
	if n := size(); n != 1 {
		t.Errorf("%d bytes", n)
	}
	id, number := []byte("x-number"), []byte(nil)
	for i := range 1000 {
		number = strconv.AppendInt(number[:0], int64(i), 10)
		e.begin()
		e.field(id, number, exchange.Other)
	}
	if n := size(); n != 1 {
		t.Errorf("%d bytes after others", n)
	}
	i := 1000
	alloc.Floor(t, func() {
		i++
		number = strconv.AppendInt(number[:0], int64(i), 10)
		e.begin()
		e.field(id, number, exchange.Other)
		e.field(name, value, exchange.Other)
	})
}

// TestEncoderSecrets: of what tells one sender from another nothing is kept where several share a table.
func TestEncoderSecrets(t *testing.T) {
	f := func(wary bool, name string, kept bool) {
		t.Helper()
		var e encoder
		e.init(wary)
		n := 0
		for range 4 {
			e.begin()
			e.field([]byte(name), []byte("the same value"), exchange.Identify([]byte(name)))
			n = len(e.block)
		}
		if (n == 1) != kept {
			t.Errorf("%s: %d bytes the fourth time", name, n)
		}
	}
	f(true, "x-api-key", false)
	f(true, "authorization", false)
	f(true, "cookie", false)
	f(true, "user-agent", true)
	f(true, "accept-encoding", true)
	f(false, "x-anything", true)
	f(false, "set-cookie", false)
	f(false, "x-request-id", false)
}
