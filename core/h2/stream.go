package h2

import (
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
)

// stream is one stream, as both roles have it. It is used again when its owner has let go of it and so has the reading
// goroutine.
type stream struct {
	c    *conn
	id   uint32
	kind *kind
	free func()             // gives it back to where it came from
	call *Call              // whose stream it is, in the client's role
	hook func(*fault.Fault) // told, conn.mu being held, that the stream was killed; may be nil

	// Guarded by conn.mu.
	refs   int
	send   int64 // bytes that we may send
	queued bool
	done   bool  // END_STREAM has been written
	heard  bool  // END_STREAM has come
	fail   error // why nothing can be written any more
	recv   int64 // bytes that the peer may still send
	owed   int64 // bytes read, for which no window has been given back yet
	left   int64 // bytes of a body of known length still to come; -1 if it is not known
	early  bool  // no DATA may come yet

	headSent bool // a Server's: the head of the answer is on its way; 100 Continue may be written until then

	refused bool // the peer says that it has not acted on it

	wake    bell        // of the writer
	aborted atomic.Bool // by Abort
	hushed  atomic.Bool // by AbortRead

	inbox
}

// kind is what the roles' faults are.
type kind struct {
	reset, gone, late, stuck, bad *fault.Fault
}

// errNoWindow is replaced by the role's own.
var errNoWindow = fault.New(fault.Internal, "no window in time")

var kinds = [2]kind{
	{
		reset: fault.New(fault.ClientGone, "client reset the stream"),
		gone:  fault.New(fault.ClientGone, "client's connection ended"),
		late:  fault.New(fault.RequestTimeout, "request body idle"),
		stuck: fault.New(fault.ClientGone, "client granted no window in time"),
		bad:   fault.New(fault.BadRequest, "client broke the protocol on a stream"),
	},
	{
		reset: fault.New(fault.UpstreamReset, "upstream reset the stream"),
		gone:  fault.New(fault.UpstreamReset, "upstream's connection broke"),
		late:  fault.New(fault.UpstreamTimeout, "answer idle"),
		stuck: fault.New(fault.UpstreamTimeout, "upstream granted no window in time"),
		bad:   fault.New(fault.BadResponse, "upstream broke the protocol on a stream"),
	},
}

// init makes s, which is new or empty, ready for a stream of c. mu is held.
func (s *stream) init(c *conn) {
	s.c, s.kind = c, &kinds[c.side]
	s.refs, s.send, s.recv, s.left = 1, c.peerWindow, int64(c.set.Window), -1
	if s.wake.c == nil {
		s.wake.c, s.bell.c = make(chan struct{}, 1), make(chan struct{}, 1)
	}
}

// reset keeps what can be used again, and nothing else.
func (s *stream) reset() {
	s.wake.clear()
	s.bell.clear()
	s.c, s.kind, s.id = nil, nil, 0
	s.refs, s.send, s.recv, s.owed, s.left = 0, 0, 0, 0, 0
	s.queued, s.done, s.heard, s.early, s.headSent, s.refused = false, false, false, false, false, false
	s.fail = nil
	s.aborted.Store(false)
	s.hushed.Store(false)
	s.inbox.reset()
}

// open puts s on the wire. mu is held.
func (s *stream) open(id uint32) {
	s.id = id
	s.refs++
	s.c.streams[id] = s
}

// release takes one user away. mu is held.
func (s *stream) release() {
	if s.refs--; s.refs == 0 {
		s.free()
	}
}

// ended takes s off the wire if both sides have ended. mu is held.
func (s *stream) ended() {
	if s.done && s.heard && s.c.streams[s.id] == s {
		s.c.closed.add(s.id, false)
		s.c.drop(s, nil)
	}
}

// kill makes what waits on s, and what comes later, fail with f. What has come as a whole can still be read. mu is held.
func (s *stream) kill(f *fault.Fault) {
	if s.fail == nil {
		s.fail = f
	}
	if s.hook != nil { // first: who wakes up asks why
		s.hook(f)
	}
	s.inbox.fail(f)
	s.wake.signal()
}

// writable says why nothing can be written. mu is held.
func (s *stream) writable() error {
	if s.aborted.Load() {
		return netio.ErrAborted
	}
	if s.fail != nil {
		return s.fail
	}
	if s.done {
		return errDone
	}
	if s.c.err != nil { // and s had not been begun
		return s.kind.gone
	}
	return nil
}

var errDone = fault.New(fault.Internal, "written to a stream after its end")

// write sends p as DATA, as the windows allow; see take for most.
func (s *stream) write(p []byte, flush bool, most time.Duration) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p) > 0 {
		n, err := s.take(len(p), most)
		if err != nil {
			return s.stuck(err)
		}
		c.addData(s, p[:n])
		p = p[n:]
	}
	if err := s.writable(); err != nil {
		return err
	}
	if flush || len(c.out) >= outRoom {
		c.flush()
	}
	return nil
}

// finish ends our side, with trailer fields if there are any.
func (s *stream) finish(trailer *exchange.Header, most time.Duration) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.done {
		c.flush()
		return nil
	}
	if _, err := s.take(0, most); err != nil {
		return s.stuck(err)
	}
	if trailer != nil && trailer.Len() > 0 {
		c.enc.begin()
		if c.enc.header(trailer); len(c.enc.block) > 0 {
			c.addHeaders(s, true)
			s.done = true
		}
	}
	if !s.done {
		c.addEnd(s)
		s.done = true
	}
	s.ended()
	c.flush()
	return nil
}

func (s *stream) stuck(err error) error {
	if err == errNoWindow {
		return s.kind.stuck
	}
	return err
}

// cut resets our stream, whatever it is at. mu is held.
func (s *stream) cut(code http2.ErrCode) {
	c := s.c
	if c.streams[s.id] != s || c.err != nil {
		return
	}
	c.rstLocked(s.id, code)
	c.drop(s, s.kind.reset)
	c.kick()
}

// deadline is when most will have passed since a time; 0 is never.
func deadline(since int64, most time.Duration) int64 {
	if most <= 0 {
		return 0
	}
	return since + int64(most)
}

// link is the stream as exchange.Link.
type link stream

// Abort is exchange.Link's. It takes no lock: it is called under that of an exchange.
func (l *link) Abort() {
	l.aborted.Store(true)
	l.wake.signal()
	l.inbox.bell.signal()
}

// AbortRead is exchange.Link's.
func (l *link) AbortRead() {
	l.hushed.Store(true)
	l.inbox.bell.signal()
}
