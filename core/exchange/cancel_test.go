package exchange

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
)

var (
	errFirst  = fault.New(fault.Draining, "first")
	errSecond = fault.New(fault.ExchangeTimeout, "second")
)

// pipe gives a connection whose other end does nothing.
func pipe(t testing.TB) *netio.Conn {
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	return netio.New(a)
}

func TestCancelEndsBothSides(t *testing.T) {
	x := Acquire()
	defer Release(x)
	client, upstream := pipe(t), pipe(t)
	x.Bind(ClientLeg, client)
	x.Bind(UpstreamLeg, upstream)
	h := x.Handle()
	if x.Cause() != nil {
		t.Fatal("cancelled before it began")
	}
	ended := make(chan error, 3)
	go func() { _, err := client.Read(make([]byte, 1)); ended <- err }()
	go func() { _, err := upstream.Read(make([]byte, 1)); ended <- err }()
	go func() { _, err := upstream.Write(make([]byte, 1)); ended <- err }()
	time.Sleep(5 * time.Millisecond) // so that they block, most likely; it holds if they don't, too
	if !h.Cancel(errFirst) {
		t.Error("did not come in time")
	}
	for range 3 {
		if err := <-ended; !errors.Is(err, netio.ErrAborted) {
			t.Errorf("blocked call: %v", err)
		}
	}
	if h.Cancel(errSecond) || x.Cause() != errFirst {
		t.Errorf("the first cause is kept; cause %v", x.Cause())
	}
	// A connection that comes late is ended at once; none is no trouble.
	late := pipe(t)
	x.Bind(UpstreamLeg, nil)
	x.Bind(UpstreamLeg, late)
	if _, err := late.Read(make([]byte, 1)); !errors.Is(err, netio.ErrAborted) || !late.Aborted() {
		t.Errorf("late connection: %v", err)
	}
}

func TestCancelOfTheDead(t *testing.T) {
	x := Acquire()
	h := x.Handle()
	c := pipe(t)
	x.Bind(ClientLeg, c)
	Release(x)
	if h.Cancel(errFirst) || c.Aborted() || (Handle{}).Cancel(errFirst) {
		t.Error("a handle outlived its exchange")
	}
	// The same memory, another exchange.
	y := Acquire()
	y.Bind(ClientLeg, c)
	if h.Cancel(errFirst) || y.Cause() != nil || c.Aborted() {
		t.Error("cancelled somebody else's exchange")
	}
	// A connection that was given back is not touched.
	y.Bind(ClientLeg, nil)
	y.Cancel(errSecond)
	if y.Cause() != errSecond || c.Aborted() {
		t.Error("ended a connection that the exchange is done with")
	}
	Release(y)
}

func TestAbortClientRead(t *testing.T) {
	x := Acquire()
	defer Release(x)
	x.AbortClientRead() // without a client there is nothing to do
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	c := netio.New(a)
	x.Bind(ClientLeg, c)
	x.AbortClientRead()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, netio.ErrAborted) {
		t.Errorf("read: %v", err)
	}
	go func() { _, _ = b.Read(make([]byte, 5)) }()
	if n, err := c.Write([]byte("hello")); n != 5 || err != nil {
		t.Errorf("the answer can still be written: %d %v", n, err)
	}
}

// TestCancelHammer cancels by handles of all ages while exchanges are served, released and used again: no connection of
// an exchange is aborted unless that one was cancelled in time.
func TestCancelHammer(t *testing.T) {
	handles := make(chan Handle, 64)
	var serving, cancelling sync.WaitGroup
	for range 4 {
		cancelling.Go(func() {
			for h := range handles {
				h.Cancel(errFirst)
			}
		})
		serving.Go(func() {
			for range 3000 {
				x := Acquire()
				client, up := netio.New(&still{}), netio.New(&still{})
				x.Bind(ClientLeg, client)
				handles <- x.Handle()
				x.Bind(UpstreamLeg, up)
				x.AbortClientRead()
				x.Bind(UpstreamLeg, nil)
				cause := x.Cause()
				x.Bind(ClientLeg, nil)
				if client.Aborted() && x.Cause() == nil || cause != nil && !client.Aborted() {
					t.Error("aborted without a cause, or the other way round")
				}
				if x.Cause() == nil && up.Aborted() {
					t.Error("upstream aborted without a cause")
				}
				Release(x)
				if cause == nil && client.Aborted() && up.Aborted() {
					t.Error("aborted after it was given back")
				}
			}
		})
	}
	serving.Wait()
	close(handles)
	cancelling.Wait()
}

// still is a connection that does nothing.
type still struct{ net.Conn }

func (*still) SetDeadline(time.Time) error     { return nil }
func (*still) SetReadDeadline(time.Time) error { return nil }

// TestTimeoutIsTold: a timeout before the answer has begun leaves the client's leg for the answer to it; every other cause,
// and one that comes later, ends it.
func TestTimeoutIsTold(t *testing.T) {
	for _, c := range []struct {
		cause       *fault.Fault
		begun, ends bool
	}{{errSecond, false, false}, {errSecond, true, true}, {errFirst, false, true}, {errFirst, true, true}} {
		for _, late := range []bool{false, true} {
			x := Acquire()
			client, upstream := netio.New(&still{}), netio.New(&still{})
			if !late {
				x.Bind(ClientLeg, client)
				x.Bind(UpstreamLeg, upstream)
			}
			if c.begun {
				if err := x.Begin(); err != nil || !x.Sent {
					t.Fatal(err, x.Sent)
				}
			}
			x.Cancel(c.cause)
			x.Bind(ClientLeg, client)
			x.Bind(UpstreamLeg, upstream)
			if client.Aborted() != c.ends || !upstream.Aborted() {
				t.Errorf("%v, begun %t, bound late %t: client aborted %t, upstream %t", c.cause, c.begun, late, client.Aborted(), upstream.Aborted())
			}
			if !c.begun {
				if err := x.Begin(); err != c.cause || x.Sent {
					t.Errorf("an answer that knows nothing of the cause: %v, sent %t", err, x.Sent)
				}
				x.Record.Fault = c.cause.Kind
				if err := x.Begin(); err != nil || !x.Sent {
					t.Errorf("the answer to the cause: %v", err)
				}
			}
			Release(x)
		}
	}
}

func TestSettle(t *testing.T) {
	x := Acquire()
	defer Release(x)
	c := netio.New(&still{})
	x.Bind(ClientLeg, c)
	if x.Settle() {
		t.Error("nothing had come")
	}
	x.Cancel(errFirst)
	if c.Aborted() || !x.Settle() {
		t.Error("touched after it was settled")
	}
}

func TestLeave(t *testing.T) {
	x := Acquire()
	h := x.Handle()
	h.Leave()
	left := 0
	x.OnLeave(func() { left++ })
	h.Leave()
	h.Leave()
	Release(x)
	h.Leave()
	(Handle{}).Leave()
	if left != 2 {
		t.Errorf("left %d times", left)
	}
}
