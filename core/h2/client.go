package h2

import (
	"errors"
	"io"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/wire"
)

// Client is a connection to an upstream. All methods may be called from any goroutine.
type Client struct {
	conn
	first chan struct{} // closed by the upstream's first SETTINGS, or by the end
	ended chan struct{}

	// Guarded by conn.mu.
	next    uint32 // number of the next stream
	calls   int    // open
	idle    int64  // clock.Nano when the last was closed
	leaving bool   // no more are opened: by Close, by the upstream's GOAWAY, or because the numbers are used up
	told    bool   // by GOAWAY: those that have been opened and not begun may not be, either
}

// NewClient takes c over, sends the preface and starts the goroutine that reads. c is closed when the connection has ended:
// by Close, by Abort, by the peer.
func NewClient(c *netio.Conn, s Settings) *Client {
	v := &Client{first: make(chan struct{}), ended: make(chan struct{}), next: 1, idle: clock.Nano()}
	v.init(c, s, wire.FromUpstream, v)
	v.mu.Lock()
	v.append([]byte(Preface))
	v.greet(http2.Setting{ID: http2.SettingEnablePush, Val: 0})
	v.mu.Unlock() // it goes out with the first request, or when the reader waits
	go v.run()
	return v
}

func (v *Client) run() {
	err := v.read()
	v.mu.Lock()
	v.leaving = true
	switch {
	case v.err != nil:
		err = v.err
	case v.calls == 0 && errors.Is(err, netio.ErrAborted):
		err = errIdle
	}
	v.mu.Unlock()
	v.bye(err, 0, blame(err))
	close(v.ended)
}

var (
	errCut    = fault.New(fault.ResponseTruncated, "upstream ended the connection")
	errBreach = fault.New(fault.BadResponse, "upstream broke the protocol")
	errSilent = fault.New(fault.UpstreamTimeout, "upstream gives no sign of life")
)

// blame gives what the end of a connection is for the calls on it.
func blame(err error) *fault.Fault {
	var breach *Error
	switch {
	case err == io.EOF:
		return errCut
	case err == errDead:
		return errSilent
	case errors.As(err, &breach) && !breach.Peer:
		return errBreach
	}
	return kinds[wire.FromUpstream].gone
}

// Open reserves a stream. ErrFull: not now; ErrEnded: never again on this connection. Until the upstream's first SETTINGS
// have come, Settings.Streams is all that limits them. The Call must be closed.
func (v *Client) Open() (*Call, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.err != nil, v.leaving:
		return nil, ErrEnded
	case v.calls >= v.set.Streams, uint32(v.calls) >= v.peerStreams:
		return nil, ErrFull
	}
	v.calls++
	k := acquireCall()
	k.init(&v.conn)
	k.client, k.early = v, true
	return k, nil
}

// Streams is how many Calls are open.
func (v *Client) Streams() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls
}

// IdleSince is clock.Nano when the last Call was closed; 0 while one is open.
func (v *Client) IdleSince() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.calls > 0 {
		return 0
	}
	return v.idle
}

// Usable reports whether Open may give a stream, now or later: false after a GOAWAY of either side, an error, or when the
// stream numbers are used up.
func (v *Client) Usable() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err == nil && !v.leaving
}

// Close lets open Calls finish and then ends the connection; without any it ends now.
func (v *Client) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.leaving = true
	v.maybeEnd()
}

func (v *Client) maybeEnd() {
	if v.leaving && v.calls == 0 && v.err == nil {
		v.nc.AbortRead()
	}
}

// Abort ends the connection at once; what waits on it gets the cause.
func (v *Client) Abort(cause *fault.Fault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.leaving = true
	v.sever(cause, cause)
}

// Greeted is closed when the upstream's first SETTINGS have come, so that Open knows how many streams it takes, or the
// connection has ended before.
func (v *Client) Greeted() <-chan struct{} { return v.first }

func (v *Client) hello() { close(v.first) }

// Ended is closed when the connection is closed and its goroutine over.
func (v *Client) Ended() <-chan struct{} { return v.ended }

func (v *Client) begun(id uint32) bool { return id%2 == 1 && id < v.next }

func (v *Client) pushes() bool { return true }

func (v *Client) ponged([8]byte) {}

// gone takes the upstream's GOAWAY: streams beyond last have not been acted on, the others go on.
func (v *Client) gone(last uint32, _ http2.ErrCode) {
	v.leaving, v.told = true, true
	for id, s := range v.streams {
		if id > last {
			s.refused = true
			v.drop(s, s.kind.reset)
		}
	}
	v.maybeEnd()
}

func (v *Client) patience(int64) (until int64, err error) {
	if v.leaving && v.calls == 0 {
		return 0, errIdle
	}
	return 0, nil
}

// maxInterim is how many interim answers may come before the real one, maxUnread how many of them are kept for a reader
// that does not come: they are hints.
const (
	maxInterim = 100
	maxUnread  = 8
)

// section takes the head of an answer, or its trailers.
func (v *Client) section(id uint32, h *section, end bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.streams[id]
	if s == nil {
		releaseSection(h)
		if !v.begun(id) {
			return &Error{Code: http2.ErrCodeProtocol, Text: "HEADERS on an idle stream"}
		}
		return v.spendLocked(1) // of a call that has been closed
	}
	if !s.early {
		return v.trailer(s, h, end)
	}
	k := s.call
	status, ok := parseStatus(h)
	interim := status < 200
	switch {
	case !ok, interim && (end || h.length >= 0):
		return v.bad(s, h)
	case interim:
		if k.interims++; k.interims > maxInterim {
			return v.bad(s, h)
		}
	default:
		s.early = false
		s.left = h.length
		if k.head || wire.Bodiless(status) {
			s.left = 0
		}
		if end && s.left > 0 {
			return v.bad(s, h)
		}
	}
	if !interim && end {
		s.heard = true
	}
	k.push(h, interim, end)
	s.ended()
	return nil
}

// bad resets a call whose answer is none.
func (v *Client) bad(s *stream, h *section) error {
	releaseSection(h)
	v.set.Malformed.Inc()
	v.drop(s, s.kind.bad)
	v.rstLocked(s.id, http2.ErrCodeProtocol)
	return nil
}

// parseStatus reads an answer's only pseudo-field (RFC 9113 §8.3.2). 101 does not exist here (§8.6).
func parseStatus(h *section) (status int, ok bool) {
	v := h.get(pseudoStatus)
	if h.bad != "" || h.has != 1<<pseudoStatus || len(v) != 3 {
		return 0, false
	}
	for _, c := range v {
		if c-'0' > 9 {
			return 0, false
		}
		status = status*10 + int(c-'0')
	}
	return status, status >= 100 && status <= 599 && status != 101
}
