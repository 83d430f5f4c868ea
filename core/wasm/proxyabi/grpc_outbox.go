package proxyabi

import (
	"encoding/binary"
	"io"
	"sync"

	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/pool"
)

// frameHead is what stands before a message: a byte of flags and its length (the gRPC protocol, "Length-Prefixed-Message").
const frameHead = 5

// outbox is the body of a gRPC call's request: the guest puts messages in, the network takes them out. It holds no more than
// one message may have. It is the client's side of the errand's exchange, too: what cancels that ends a wait for messages. Any
// goroutine may call.
type outbox struct {
	vm   *VM
	wake chan struct{} // room for one

	mu      sync.Mutex
	data    []byte // data[r:] waits
	r       int
	ended   bool
	aborted bool
}

// push adds a message, framed; end says that it is the last. It reports false, and takes nothing, if there is no room.
func (o *outbox) push(msg []byte, end bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	waits, n := len(o.data)-o.r, len(msg)+frameHead
	if o.ended || len(msg) > o.vm.room() || waits > 0 && waits+n > o.vm.room() || !o.vm.hold(n) {
		return false
	}
	if o.r > 0 {
		o.data, o.r = o.data[:copy(o.data, o.data[o.r:])], 0
	}
	o.data = binary.BigEndian.AppendUint32(append(o.data, 0), uint32(len(msg)))
	o.data = append(o.data, msg...)
	o.ended = end
	o.ring()
	return true
}

// end says that no message follows.
func (o *outbox) end() {
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
	o.ring()
}

// discard throws away what waits.
func (o *outbox) discard() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.vm.held.Add(int64(o.r - len(o.data)))
	o.data, o.r, o.ended = nil, 0, true
}

func (o *outbox) ring() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Read implements exchange.Source.
func (o *outbox) Read(p []byte) (int, error) {
	for {
		o.mu.Lock()
		n := copy(p, o.data[o.r:])
		o.r += n
		if o.r == len(o.data) {
			if o.data, o.r = o.data[:0], 0; cap(o.data) > pool.Large {
				o.data = nil
			}
		}
		ended, aborted := o.ended, o.aborted
		o.mu.Unlock()
		o.vm.held.Add(int64(-n))
		switch {
		case aborted:
			return n, netio.ErrAborted
		case n > 0 || len(p) == 0:
			return n, nil
		case ended:
			return 0, io.EOF
		}
		<-o.wake
	}
}

// Whole implements exchange.Source.
func (o *outbox) Whole() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ended
}

// Abort implements exchange.Link.
func (o *outbox) Abort() {
	o.mu.Lock()
	o.aborted = true
	o.mu.Unlock()
	o.ring()
}

// AbortRead implements exchange.Link.
func (o *outbox) AbortRead() { o.Abort() }
