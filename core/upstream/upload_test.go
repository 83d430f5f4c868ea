package upstream

import (
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

// TestUploadStates: what the table says may happen can, and nothing else.
func TestUploadStates(t *testing.T) {
	may := map[[2]uploadState]bool{
		{resting, running}: true, {running, pulled}: true, {running, ended}: true, {pulled, ended}: true,
		{ended, joined}: true, {joined, resting}: true,
	}
	for from := resting; from <= joined; from++ {
		for next := resting; next <= joined; next++ {
			u := &upload{}
			u.state.Store(uint32(from))
			panicked := func() (p bool) {
				defer func() { p = recover() != nil }()
				u.to(next)
				return false
			}()
			if panicked == may[[2]uploadState{from, next}] {
				t.Errorf("%s after %s: refused %t", next, from, panicked)
			}
		}
	}
}

func TestUploadJoin(t *testing.T) {
	x := exchange.Acquire()
	defer exchange.Release(x)
	u := &upload{done: make(chan struct{}, 1)}
	if u.join() != nil || u.is() != resting { // nobody to wait for
		t.Error(u.is())
	}
	for range 2 {
		u.start(x)
		if !u.underWay() || !x.Uploading.Load() {
			t.Error(u.is())
		}
		u.settle() // waits for nobody who still pulls
		failed := fault.New(fault.ClientGone, "")
		go func() {
			u.to(pulled)
			u.end(x, failed)
		}()
		if err := u.join(); err != failed || u.is() != joined || x.Uploading.Load() || u.underWay() {
			t.Errorf("%v, %s", err, u.is())
		}
		if err := u.join(); err != failed { // again is the same
			t.Error(err)
		}
		u.rest()
	}
	if u.is() != resting || u.err != nil {
		t.Error(u.is(), u.err)
	}
}

// TestRewindAfterALateEnd: an uploader that has ended since the last look leaves nothing to the next try.
func TestRewindAfterALateEnd(t *testing.T) {
	x := exchange.Acquire()
	defer exchange.Release(x)
	k := &Call{x: x, up: upload{done: make(chan struct{}, 1)}}
	k.kept.on = true
	k.kept.keep([]byte("abc"), 3)
	k.up.start(x)
	k.up.settle()
	k.up.end(x, errLength)
	k.rewind()
	if k.up.is() != resting || k.up.err != nil || len(k.up.done) > 0 {
		t.Errorf("%s %v, %d told", k.up.is(), k.up.err, len(k.up.done))
	}
	if p, err := x.Request.Body.Next(nil); string(p) != "abc" || err != nil {
		t.Errorf("%q %v", p, err)
	}
	k.kept.reset()
}

// A Call that has been used is as a new one.
func TestCallReset(t *testing.T) {
	x := exchange.Acquire()
	defer exchange.Release(x)
	k := calls.New().(*Call)
	done := k.up.done
	k.u, k.x, k.host, k.ep, k.leg = &Upstream{}, x, []byte("a"), &Endpoint{}, &conn{}
	k.ticket, k.told, k.retries = Ticket{epoch: 1, probe: true}, true, 3
	k.kept.on = true
	k.kept.keep([]byte("abc"), 3)
	k.up.start(x)
	k.up.end(x, errLength)
	_ = k.up.join()
	k.reset()
	if k.u != nil || k.x != nil || k.host != nil || k.ep != nil || k.leg != nil || k.ticket != (Ticket{}) || k.told || k.retries != 0 ||
		k.kept.on || k.kept.buf != nil || k.kept.n != 0 || k.kept.lost || k.up.is() != resting || k.up.err != nil || k.up.done != done {
		t.Errorf("%+v", k.kept)
	}
}
