package h2

import (
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/wire"
)

// Client is a connection to an upstream. All methods may be called from any goroutine.
type Client struct{}

// NewClient takes c over, sends the preface and starts the goroutine that reads. c is closed when the connection has ended:
// by Close, by Abort, by the peer.
func NewClient(c *netio.Conn, s Settings) *Client { panic("h2: not yet") }

// Open reserves a stream. ErrFull: not now; ErrEnded: never again on this connection. Until the upstream's first SETTINGS
// have come, one stream may be opened and more are ErrFull only beyond Settings.Streams. The Call must be closed.
func (c *Client) Open() (*Call, error) { return nil, ErrEnded }

// Streams is how many Calls are open.
func (c *Client) Streams() int { return 0 }

// IdleSince is clock.Nano when the last Call was closed; 0 while one is open.
func (c *Client) IdleSince() int64 { return 0 }

// Usable reports whether Open may give a stream, now or later: false after a GOAWAY of either side, an error, or when the
// stream numbers are used up.
func (c *Client) Usable() bool { return false }

// Close lets open Calls finish and then ends the connection; without any it ends now.
func (c *Client) Close() {}

// Abort ends the connection at once; what waits on it gets the cause.
func (c *Client) Abort(cause *fault.Fault) {}

// Ended is closed when the connection is closed and its goroutine over.
func (c *Client) Ended() <-chan struct{} { return nil }

// Call is one request to an upstream and its answer, on a stream of its own. One goroutine writes (WriteHead, WriteBody,
// Finish) and one reads (ReadHead, then x.Response.Body); Link's methods are anybody's.
type Call struct{}

// Link is what cancels the call: its stream is reset (CANCEL), the connection lives on.
func (k *Call) Link() exchange.Link { return nil }

// WriteHead sends the head of r. host is what :authority will say, secure that :scheme is https. length is the number of body
// bytes to come: 0 ends the request with its head (then no Finish is needed, and one does nothing), -1 is not known. With a
// body, the head goes out with its first flushed bytes, or by WriteBody(nil, true). The error is fault.UpstreamReset, …Timeout
// or netio.ErrAborted.
func (k *Call) WriteHead(r *exchange.Request, host []byte, secure bool, length int64) error {
	return nil
}

// WriteBody sends body bytes; flush says that no more is at hand. It waits while the upstream grants no window, for
// Settings.WriteIdle at most: then it gives fault.UpstreamTimeout.
func (k *Call) WriteBody(p []byte, flush bool) error { return nil }

// Finish ends the request with the trailer fields (nil or empty for none).
func (k *Call) Finish(trailer *exchange.Header) error { return nil }

// ReadHead reads the next head of the answer into x.Response: an interim one (Status below 200), after which it is called
// again once x.ClearResponse has been, or the final one, with x.Response.Body bound to what follows, and
// x.Record.UpstreamStatus set. most bounds the wait from the moment when the request had been sent to its end; 0 is for ever.
// idle is how long the body may then be silent. Bad heads are fault.BadResponse and reset the stream.
func (k *Call) ReadHead(x *exchange.Exchange, lim *wire.Limits, most, idle time.Duration) error {
	return nil
}

// Answered reports whether a byte of an answer has come.
func (k *Call) Answered() bool { return false }

// Unprocessed reports, after an error, whether the upstream certainly has not acted on the request: it was never written,
// the stream was refused (REFUSED_STREAM), or GOAWAY left it out (RFC 9113 §8.7). Such a request may be sent again, whatever
// its method, if its body can be.
func (k *Call) Unprocessed() bool { return false }

// Whole reports whether request and answer have come to their ends.
func (k *Call) Whole() bool { return false }

// AtHand reports whether bytes of the body came with the head.
func (k *Call) AtHand() bool { return false }

// Close ends the call: what is not whole is reset (CANCEL). Nobody may use it, its Link or its body afterwards; nobody else may
// be within one of its methods.
func (k *Call) Close() {}
