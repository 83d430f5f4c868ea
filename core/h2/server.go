package h2

import (
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/wire"
)

// Server is the connection of one client.
type Server struct{}

// NewServer makes the server's end of c, plain (prior knowledge) or TLS (ALPN h2). handle is called for every request, each
// time in a goroutine of its own; it must recover its own panics. c stays the caller's: Serve does not close it.
func NewServer(c *netio.Conn, s Settings, handle func(*Stream)) *Server { panic("h2: not yet") }

// Serve reads the connection until it ends, or until GoAway or Abort has ended it, and returns when the last handler has
// returned. ahead is what has been read of the connection already, a view until Serve returns. The error says how the
// connection ended: nil is a proper end, *Error a breach of the protocol; anything else is the connection's own.
func (v *Server) Serve(ahead []byte) error { panic("h2: not yet") }

// GoAway ends the connection without losing a request: the client is told to begin no stream, those that are on their way
// are still taken, all are finished, then Serve returns. Any goroutine, any number of times.
func (v *Server) GoAway() {}

// Abort ends the connection at once: the exchanges under way are cancelled with the cause. Any goroutine.
func (v *Server) Abort(cause *fault.Fault) {}

// Streams is how many handlers run; 0 is an idle connection. Any goroutine.
func (v *Server) Streams() int { return 0 }

// Stream is one request of a client, and its answer: an exchange.Downstream. It belongs to its handler until that returns;
// what is not finished by then is reset.
type Stream struct{}

// Began is clock.Nano at the first byte of the request's header section.
func (s *Stream) Began() int64 { return 0 }

// Begin fills x with the request: x.Request, x.Down (this stream), and binds the client's leg, so that the peer's reset or
// the end of the connection cancels x with fault.ClientGone. It is called once, first of all. idle is how long the client may
// send nothing of its body; 0 is for ever. The error is a refusal that can be answered, by x.Down as ever: request line and
// header section stand in x as far as they could be understood. Cookie fields are joined into one (RFC 9113 §8.2.3).
func (s *Stream) Begin(x *exchange.Exchange, lim *wire.Limits, idle time.Duration) error {
	panic("h2: not yet")
}

// Inform is exchange.Downstream's.
func (s *Stream) Inform(x *exchange.Exchange) error { return nil }

// WriteHead is exchange.Downstream's. A 101 becomes the 200 that extended CONNECT wants.
func (s *Stream) WriteHead(x *exchange.Exchange, length int64) error { return nil }

// WriteBody is exchange.Downstream's. It waits while the client grants no window, for x.WriteIdle at most: then it gives
// fault.ClientGone.
func (s *Stream) WriteBody(p []byte, flush bool) error { return nil }

// Finish is exchange.Downstream's.
func (s *Stream) Finish(trailer *exchange.Header) error { return nil }

// Abort is exchange.Downstream's: it resets this stream (INTERNAL_ERROR) and no other.
func (s *Stream) Abort() {}

// Tunnel is exchange.Downstream's.
func (s *Stream) Tunnel() (exchange.Pipe, []byte, error) { return nil, nil, nil }
