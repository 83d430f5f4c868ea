package h2

import (
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/wire"
)

// Server is the connection of one client.
type Server struct {
	conn
	handle   func(*Stream)
	handlers sync.WaitGroup

	// Guarded by conn.mu.
	last      uint32 // the last stream that the client has begun
	late      uint32 // the last that it has begun in spite of the GOAWAY; none of those is taken
	active    int    // handlers that have not returned
	zombies   int    // those of them whose stream was reset
	idleSince int64  // clock.Nano; while active is 0
	phase     phase
	serving   bool
	timer     *time.Timer // of phase leaving
}

// phase is how far a graceful end has come.
type phase uint8

const (
	staying phase = iota
	leaving       // the client has been told to begin no streams
	left          // and must know it by now: later ones are not taken
)

// NewServer makes the server's end of c, plain (prior knowledge) or TLS (ALPN h2). handle is called for every request, each
// time in a goroutine of its own; it must recover its own panics. Serve closes c.
func NewServer(c *netio.Conn, s Settings, handle func(*Stream)) *Server {
	v := &Server{handle: handle}
	v.init(c, s, wire.FromClient, v)
	return v
}

// Serve reads the connection until it ends, or until GoAway or Abort has ended it, closes it, and returns when the last
// handler has returned. ahead is what has been read of the connection already, a view until Serve returns. The error says how the
// connection ended: nil is a proper end, *Error a breach of the protocol; anything else is the connection's own.
func (v *Server) Serve(ahead []byte) error {
	v.in.ahead = ahead
	v.mu.Lock()
	v.serving, v.idleSince = true, clock.Nano()
	own := []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: uint32(v.set.Streams)}}
	if v.set.Tunnels {
		own = append(own, http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
	}
	v.greet(own...)
	if v.phase == leaving {
		v.farewell()
	}
	v.mu.Unlock()
	err := v.preface()
	if err == nil {
		err = v.read()
	}
	return v.over(err)
}

// over ends what err has ended.
func (v *Server) over(err error) error {
	v.mu.Lock()
	if v.timer != nil {
		v.timer.Stop()
	}
	if v.err != nil {
		err = v.err // why reading failed
	} else if v.phase == left && v.active == 0 && errors.Is(err, netio.ErrAborted) {
		err = errEnding
	}
	idle, last := v.active == 0, v.last
	v.mu.Unlock()
	v.bye(err, last, kinds[v.side].gone)
	v.handlers.Wait()
	if err == errIdle || err == errEnding || err == io.EOF && idle {
		return nil
	}
	return err
}

func (v *Server) preface() error {
	var b [len(Preface)]byte
	if err := v.in.full(b[:]); err != nil {
		return v.fault(err)
	}
	if string(b[:]) != Preface {
		return &Error{Code: http2.ErrCodeProtocol, Text: "connection does not begin with the preface"}
	}
	return nil
}

// GoAway ends the connection without losing a request: the client is told to begin no stream, those that are on their way
// are still taken, all are finished, then Serve returns. Any goroutine, any number of times.
func (v *Server) GoAway() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.phase != staying || v.err != nil {
		return
	}
	v.phase = leaving
	if v.serving {
		v.farewell()
		v.kick()
	}
}

// patienceToLeave is how long the answer to the PING of a farewell may take.
const patienceToLeave = time.Second

var farewell = [8]byte{'w', 'e', 'i', 'r', 'g', 'o', 'n', 'e'}

// farewell begins the end (RFC 9113 §6.8): once a PING has come back the client has seen the GOAWAY, and no stream that it
// has begun before is lost.
func (v *Server) farewell() {
	_ = v.fr.WriteGoAway(lastStream, http2.ErrCodeNo, nil)
	_ = v.fr.WritePing(false, farewell)
	v.timer = time.AfterFunc(patienceToLeave, v.lastCall)
}

func (v *Server) ponged(data [8]byte) {
	if data == farewell {
		v.lastCall()
	}
}

func (v *Server) lastCall() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.phase != leaving || v.err != nil {
		return
	}
	v.phase = left
	_ = v.fr.WriteGoAway(v.last, http2.ErrCodeNo, nil)
	v.kick()
	v.maybeEnd()
}

// maybeEnd ends the connection if nothing is left to do on it. mu is held.
func (v *Server) maybeEnd() {
	if v.phase == left && v.active == 0 {
		v.nc.AbortRead()
	}
}

// Abort ends the connection at once: the exchanges under way are cancelled with the cause. Any goroutine.
func (v *Server) Abort(cause *fault.Fault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sever(cause, cause)
}

// Streams is how many handlers run; 0 is an idle connection. Any goroutine.
func (v *Server) Streams() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.active
}

func (v *Server) begun(id uint32) bool { return id%2 == 1 && id <= max(v.last, v.late) }

func (v *Server) gone(uint32, http2.ErrCode) {}

func (v *Server) pushes() bool { return false }

func (v *Server) hello() {}

func (v *Server) patience(now int64) (until int64, err error) {
	idle := int64(v.set.Idle)
	switch {
	case v.active > 0 && idle > 0:
		return now + idle, nil // to look again: the last stream ends without a word to the reader
	case v.active > 0:
		return 0, nil
	case v.phase == left:
		return 0, errEnding
	case idle == 0:
		return 0, nil
	case now-v.idleSince >= idle:
		return 0, errIdle
	}
	return v.idleSince + idle, nil
}

// section takes a request, or the trailer section of one.
func (v *Server) section(id uint32, h *section, end bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s := v.streams[id]; s != nil {
		return v.trailer(s, h, end)
	}
	switch {
	case id%2 == 0:
		releaseSection(h)
		return &Error{Code: http2.ErrCodeProtocol, Text: "stream number not a client's"}
	case id <= v.last:
		releaseSection(h)
		known, ours := v.closed.find(id)
		switch {
		case ours:
			return v.spendLocked(1)
		case known:
			return &Error{Code: http2.ErrCodeStreamClosed, Text: "HEADERS on a closed stream"}
		}
		return &Error{Code: http2.ErrCodeProtocol, Text: "stream numbers do not rise"}
	case v.phase == left:
		releaseSection(h)
		v.late = id
		v.closed.add(id, true) // the client has been told that this stream is not taken, and will do as if it had been reset
		return v.spendLocked(1)
	}
	v.last = id
	// Of streams that were reset the work goes on until the handler has noticed. One that has just answered does not count:
	// its client may well have begun the next. Yet there is a limit to those too.
	if len(v.streams)+v.zombies >= v.set.Streams || v.active >= 2*v.set.Streams {
		releaseSection(h)
		v.set.Refused.Inc()
		return v.deny(id, http2.ErrCodeRefusedStream)
	}
	if malformed(h, end, v.set.Tunnels) {
		releaseSection(h)
		v.set.Malformed.Inc()
		return v.deny(id, http2.ErrCodeProtocol)
	}
	s := acquireStream()
	s.begin(v, id, h, end)
	v.active++
	v.handlers.Add(1)
	v.calm.earn(1)
	go s.run()
	return nil
}

// deny resets a stream that is not begun. mu is held.
func (v *Server) deny(id uint32, code http2.ErrCode) error {
	v.rstLocked(id, code)
	if !v.resets.spend(1) {
		return v.flooded("made us reset streams too often")
	}
	return nil
}

// trailer takes a second section on a stream, which can only be its trailers. mu is held.
func (c *conn) trailer(s *stream, h *section, end bool) error {
	code := http2.ErrCodeNo
	switch {
	case s.heard:
		code = http2.ErrCodeStreamClosed
	case !end || h.badTrailer() || s.left > 0:
		code = http2.ErrCodeProtocol
		c.set.Malformed.Inc()
	}
	if code != http2.ErrCodeNo {
		releaseSection(h)
		c.drop(s, s.kind.bad)
		c.rstLocked(s.id, code)
		if !c.resets.spend(1) {
			return c.flooded("made us reset streams too often")
		}
		return nil
	}
	s.heard = true
	s.end(h)
	s.ended()
	return nil
}

// malformed reports whether a request is none (RFC 9113 §8.1.1, §8.3.1). What is well-formed and refused all the same is
// told by Begin.
func malformed(h *section, end, tunnels bool) bool {
	switch {
	case h.large:
		return h.bad != ""
	case h.bad != "", h.has&(1<<pseudoStatus) != 0, end && h.length > 0:
		return true
	case string(h.get(pseudoMethod)) == "CONNECT":
		if h.has&(1<<pseudoProtocol) == 0 {
			return h.has != 1<<pseudoMethod|1<<pseudoAuthority
		}
		return !tunnels || h.has != requestPseudos|1<<pseudoAuthority|1<<pseudoProtocol || end
	case h.has&requestPseudos != requestPseudos, h.has&(1<<pseudoProtocol) != 0, len(h.get(pseudoPath)) == 0, len(h.get(pseudoMethod)) == 0:
		return true
	}
	return false
}
