package h2

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/wire"
)

// Call is one request to an upstream and its answer, on a stream of its own. One goroutine writes (WriteHead, WriteBody,
// Finish) and one reads (ReadHead, then x.Response.Body); Link's methods are anybody's.
type Call struct {
	stream
	client *Client

	// Of the reading side.
	x    *exchange.Exchange
	idle time.Duration

	head     bool         // the method is HEAD; guarded by conn.mu, as is interims
	interims int          // heads that have come before the final one
	sent     atomic.Int64 // clock.Nano when the request had been written to its end; 0 until then

	heads []*section // that have come and have not been read; guarded by imu
	came  bool       // one has; guarded by imu
}

var calls sync.Pool

func acquireCall() *Call {
	if k, ok := calls.Get().(*Call); ok {
		return k
	}
	k := &Call{}
	k.free, k.call = k.recycle, k
	return k
}

func (k *Call) recycle() {
	k.stream.reset()
	k.client, k.x, k.idle, k.head, k.interims = nil, nil, 0, false, 0
	k.sent.Store(0)
	k.heads, k.came = k.heads[:0], false
	calls.Put(k)
}

// Link is what cancels the call: what waits in it gets netio.ErrAborted, and Close resets its stream. The connection lives on.
func (k *Call) Link() exchange.Link { return (*link)(&k.stream) }

var (
	nameMethod    = []byte(":method")
	nameAuthority = []byte(":authority")
	namePath      = []byte(":path")

	errAnswerLate = fault.New(fault.UpstreamTimeout, "answer's head did not come in time")
	errAnswer     = fault.New(fault.BadResponse, "answer's head too large")
)

// WriteHead sends the head of r. host is what :authority will say, secure that :scheme is https. length is the number of body
// bytes to come: 0 ends the request with its head (then no Finish is needed, and one does nothing), -1 is not known. With a
// body, the head goes out with its first flushed bytes, or by WriteBody(nil, true). The error is fault.UpstreamReset, …Timeout
// or netio.ErrAborted, or ErrEnded if the connection has come to take no more streams since Open.
func (k *Call) WriteHead(r *exchange.Request, host []byte, secure bool, length int64) error {
	v := k.client
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, err := k.take(0, v.set.WriteIdle); err != nil {
		return k.stuck(err)
	}
	if v.err != nil || v.leaving && !k.mayBegin() {
		return ErrEnded
	}
	k.head = string(r.Method) == "HEAD"
	k.open(v.next)
	if v.next += 2; v.next > lastStream {
		v.leaving = true
	}
	k.encode(r, host, secure, length)
	v.addHeaders(&k.stream, length == 0)
	if length == 0 {
		k.done = true
		k.sent.Store(clock.Nano())
		v.flush()
	}
	return nil
}

// mayBegin reports whether a stream reserved before Close may still be begun: not after the upstream's GOAWAY.
func (k *Call) mayBegin() bool { return !k.client.told && k.client.next <= lastStream }

func (k *Call) encode(r *exchange.Request, host []byte, secure bool, length int64) {
	e := &k.c.enc
	e.begin()
	switch string(r.Method) {
	case "GET":
		e.static(":method", "GET")
	case "POST":
		e.static(":method", "POST")
	default:
		e.field(nameMethod, r.Method, exchange.Other)
	}
	if secure {
		e.static(":scheme", "https")
	} else {
		e.static(":scheme", "http")
	}
	if len(host) > 0 {
		e.visible(nameAuthority, host)
	}
	e.visible(namePath, r.Target)
	e.header(&r.Header)
	if r.Trailers {
		e.static("te", "trailers")
	}
	if length > 0 || length == 0 && wire.SendsLength(r.Method) {
		e.length(length)
	}
}

// visible writes a pseudo-field that may have come from a filter.
func (e *encoder) visible(name, value []byte) {
	e.lower = wire.AppendVisible(e.lower[:0], value)
	e.field(name, e.lower, exchange.Other)
}

// WriteBody sends body bytes; flush says that no more is at hand. It waits while the upstream grants no window, for
// Settings.WriteIdle at most: then it gives fault.UpstreamTimeout.
func (k *Call) WriteBody(p []byte, flush bool) error {
	return k.write(p, flush, k.client.set.WriteIdle)
}

// Finish ends the request with the trailer fields (nil or empty for none).
func (k *Call) Finish(trailer *exchange.Header) error {
	err := k.finish(trailer, k.client.set.WriteIdle)
	if err == nil {
		k.sent.CompareAndSwap(0, clock.Nano())
		k.bell.signal() // from now on the answer is owed
	}
	return err
}

// push hands a head over to the reader.
func (k *Call) push(h *section, interim, end bool) {
	k.imu.Lock()
	k.came = true
	if interim && len(k.heads) >= maxUnread {
		releaseSection(h)
	} else {
		k.heads = append(k.heads, h)
	}
	k.eof = k.eof || end
	k.imu.Unlock()
	k.bell.signal()
}

// ReadHead reads the next head of the answer into x.Response: an interim one (Status below 200), after which it is called
// again once x.ClearResponse has been, or the final one, with x.Response.Body bound to what follows, and
// x.Record.UpstreamStatus set. most bounds the wait from the moment when the request had been sent to its end; 0 is for ever.
// idle is how long the body may then be silent. Bad heads are fault.BadResponse and reset the stream.
func (k *Call) ReadHead(x *exchange.Exchange, lim *wire.Limits, most, idle time.Duration) error {
	for {
		if k.aborted.Load() || k.hushed.Load() {
			return netio.ErrAborted
		}
		k.imu.Lock()
		var h *section
		if len(k.heads) > 0 {
			h = k.heads[0]
			k.heads = append(k.heads[:0], k.heads[1:]...)
		}
		err := k.err
		k.imu.Unlock()
		switch {
		case h != nil:
			k.x, k.idle = x, idle
			return k.parse(x, h, lim)
		case err != nil:
			return err
		}
		by := int64(0)
		if sent := k.sent.Load(); most > 0 && sent != 0 {
			by = sent + int64(most)
		}
		if !k.bell.wait(by) {
			return errAnswerLate
		}
	}
}

func (k *Call) parse(x *exchange.Exchange, h *section, lim *wire.Limits) error {
	r := &x.Response
	if h.large || len(h.fields) > lim.Fields || h.size > lim.HeaderBytes {
		releaseSection(h)
		return errAnswer
	}
	r.Status, _ = parseStatus(h)
	r.Version, r.Declared = exchange.HTTP20, h.length
	for i := range h.fields {
		name, value, id := h.at(i)
		if !id.HopByHop() && id != exchange.Host {
			r.Header.Append(name, value, id)
		}
	}
	x.OwnBack(h.own())
	length := h.length
	releaseSection(h)
	if r.Status < 200 {
		r.Body.Init(0, nil)
		return nil
	}
	x.Record.UpstreamStatus = r.Status
	if k.head || wire.Bodiless(r.Status) {
		length = 0
	} else if length < 0 && k.empty() {
		length = 0 // ended with its head
	}
	r.Body.Init(length, (*answerBody)(k))
	return nil
}

// empty reports whether the answer has ended without a body and without trailers.
func (k *Call) empty() bool {
	k.imu.Lock()
	defer k.imu.Unlock()
	return k.eof && k.size == 0 && k.trailer == nil
}

// answerBody is the Call as the source of its answer's body.
type answerBody Call

// Read is exchange.Source's.
func (b *answerBody) Read(p []byte) (int, error) {
	k := (*Call)(b)
	n, err := k.read(p, k.idle)
	if err == io.EOF {
		k.trailerTo(&k.x.Response.Trailer)
	}
	return n, err
}

// Whole is exchange.Source's.
func (b *answerBody) Whole() bool { return b.whole() }

// Answered reports whether a head of an answer has come.
func (k *Call) Answered() bool {
	k.imu.Lock()
	defer k.imu.Unlock()
	return k.came
}

// Unprocessed reports, after an error, whether the upstream certainly has not acted on the request: it was never written,
// the stream was refused (REFUSED_STREAM), or GOAWAY left it out (RFC 9113 §8.7). Such a request may be sent again, whatever
// its method, if its body can be.
func (k *Call) Unprocessed() bool {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.id == 0 || k.refused
}

// Whole reports whether request and answer have come to their ends.
func (k *Call) Whole() bool {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.done && k.heard
}

// AtHand reports whether bytes of the body, or its end, have come.
func (k *Call) AtHand() bool {
	k.imu.Lock()
	defer k.imu.Unlock()
	return k.size > 0 || k.eof
}

// Close ends the call: what is not whole is reset (CANCEL). Nobody may use it, its Link or its body afterwards; nobody else may
// be within one of its methods.
func (k *Call) Close() {
	v := k.client
	v.mu.Lock()
	defer v.mu.Unlock()
	k.cut(http2.ErrCodeCancel)
	if v.refund(k.stream.close()) {
		v.kick()
	}
	k.imu.Lock()
	for _, h := range k.heads {
		releaseSection(h)
	}
	k.heads = k.heads[:0]
	k.imu.Unlock()
	v.calls--
	if v.calls == 0 {
		v.idle = clock.Nano()
		v.maybeEnd()
	}
	k.release()
}
