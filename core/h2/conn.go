package h2

import (
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/wire"
)

// role is what tells a server's end from a client's. Its methods are called by the reading goroutine.
type role interface {
	// begun reports whether the stream has ever been opened, by whom it may be; mu is held.
	begun(id uint32) bool
	// section takes a whole header section over; end says that the stream ends with it.
	section(id uint32, h *section, end bool) error
	// gone says, mu held, that the peer will answer no stream beyond last.
	gone(last uint32, code http2.ErrCode)
	// hello says, mu held, that the peer's first SETTINGS have come.
	hello()
	// patience is until when the reader may wait (clock.Nano; 0 for ever), mu held.
	patience(now int64) (until int64, err error)
	// ponged takes the answer to a PING.
	ponged(data [8]byte)
	// pushes reports whether the peer is one that could be pushed to.
	pushes() bool
}

// conn is one HTTP/2 connection, as both roles have it.
type conn struct {
	nc   *netio.Conn
	set  Settings
	side wire.Side // whose messages are read
	role role

	// Of the reading goroutine.
	in      input
	dec     *hpack.Decoder
	head    heading
	greeted bool  // the peer's first SETTINGS have come
	late    int64 // when what has begun must be whole: a header block, or the greeting; 0: nothing has

	mu      sync.Mutex // guards what follows, and the writing half of fr
	fr      *http2.Framer
	streams map[uint32]*stream // open on the wire
	closed  closedRing
	err     error // why the connection is over; nil while it is not

	recv int64 // bytes that the peer may still send
	owed int64 // bytes read, for which no window has been given back yet

	output
	flow
	enc    encoder
	resets budget
	calm   budget
	pinged int64 // clock.Nano of a sign of life asked for; 0: none is awaited

	peerStreams uint32 // MAX_CONCURRENT_STREAMS of the peer
	peerWindow  int64  // INITIAL_WINDOW_SIZE of the peer
}

// heading is a header block that is being read.
type heading struct {
	id     uint32
	end    bool // the stream ends with it
	sec    *section
	frames int
	bytes  int
}

func (c *conn) init(nc *netio.Conn, s Settings, side wire.Side, r role) {
	c.nc, c.set, c.side, c.role = nc, s.withDefaults(), side, r
	c.in = input{c: c, last: clock.Nano()}
	c.fr = http2.NewFramer((*frames)(c), &c.in)
	c.fr.SetMaxReadFrameSize(frameSize)
	c.fr.SetReuseFrames()
	c.dec = hpack.NewDecoder(tableSize, c.emit)
	c.streams = make(map[uint32]*stream)
	c.recv = minWindow
	c.flow.window = minWindow
	c.peerWindow, c.peerStreams = minWindow, maxWindow
	c.rest.L = &c.mu
	c.enc.init(side == wire.FromUpstream)
	c.resets = newBudget(c.set.Resets)
	c.calm = newBudget(c.set.Control)
	if c.set.Header > 0 {
		c.late = clock.Nano() + int64(c.set.Header)
	}
}

// greet writes our SETTINGS, and the window of the connection beyond what everybody has.
func (c *conn) greet(own ...http2.Setting) {
	own = append(own, http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(c.set.Window)},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: uint32(c.set.HeaderBytes)})
	_ = c.fr.WriteSettings(own...)
	if more := int64(c.set.ConnWindow) - c.recv; more > 0 {
		c.recv += more
		_ = c.fr.WriteWindowUpdate(0, uint32(more))
	}
}

var (
	errIdle   = errors.New("connection idle")
	errEnding = errors.New("connection ended by us")
	errDead   = errors.New("no sign of life")
	errLate   = &Error{Code: http2.ErrCodeEnhanceYourCalm, Text: "greeting or header block not whole in time"}
)

// read takes frames until the connection ends, and gives the reason.
func (c *conn) read() error {
	for {
		if err := c.frame(); err != nil {
			return err
		}
	}
}

// frame reads one frame and does what it says.
func (c *conn) frame() error {
	fh, err := c.fr.ReadFrameHeader()
	if err != nil {
		return c.fault(err)
	}
	if !c.greeted && (fh.Type != http2.FrameSettings || fh.Flags.Has(http2.FlagSettingsAck)) {
		return &Error{Code: http2.ErrCodeProtocol, Text: "first frame is no SETTINGS"}
	}
	switch fh.Type {
	case http2.FrameData:
		return c.data(fh)
	case http2.FrameHeaders:
		if c.set.Header > 0 && c.late == 0 {
			c.late = clock.Nano() + int64(c.set.Header)
		}
	}
	f, err := c.fr.ReadFrameForHeader(fh)
	if err != nil {
		var se http2.StreamError
		if errors.As(err, &se) && fh.Type != http2.FrameHeaders { // of a block that was not decoded, the table would be wrong
			return c.refuse(se.StreamID, se.Code)
		}
		return c.fault(err)
	}
	switch f := f.(type) {
	case *http2.HeadersFrame:
		return c.headers(f)
	case *http2.ContinuationFrame:
		return c.block(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.PingFrame:
		return c.ping(f)
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f)
	case *http2.RSTStreamFrame:
		return c.rst(f)
	case *http2.GoAwayFrame:
		return c.goneAway(f)
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return c.refuse(f.StreamID, http2.ErrCodeProtocol)
		}
	case *http2.PushPromiseFrame:
		return &Error{Code: http2.ErrCodeProtocol, Text: "PUSH_PROMISE where it may not be"}
	}
	return c.spend(1)
}

// fault gives an error of reading a frame its meaning.
func (c *conn) fault(err error) error {
	var ce http2.ConnectionError
	var se http2.StreamError
	switch {
	case errors.Is(err, http2.ErrFrameTooLarge):
		return &Error{Code: http2.ErrCodeFrameSize, Text: "frame too large"}
	case errors.As(err, &ce):
		return &Error{Code: http2.ErrCode(ce), Text: "malformed frame"}
	case errors.As(err, &se):
		return &Error{Code: se.Code, Text: "malformed frame"}
	case c.in.err == nil && (err == io.ErrUnexpectedEOF || err == io.EOF): // in a payload that was there as a whole
		return &Error{Code: http2.ErrCodeFrameSize, Text: "frame too short"}
	case c.in.err != nil:
		return c.in.err
	}
	return err
}

// maxBlockFrames is how many frames a header block may come in. A sender that fills them needs three for what we allow.
const maxBlockFrames = 32

func (c *conn) headers(f *http2.HeadersFrame) error {
	if f.HasPriority() && f.Priority.StreamDep == f.StreamID {
		return &Error{Code: http2.ErrCodeProtocol, Text: "stream depends on itself"}
	}
	c.head = heading{id: f.StreamID, end: f.StreamEnded(), sec: acquireSection(c.set.HeaderBytes, clock.Nano())}
	c.dec.SetEmitEnabled(true)
	return c.block(f.HeaderBlockFragment(), f.HeadersEnded())
}

func (c *conn) emit(f hpack.HeaderField) {
	if !c.head.sec.add(f) {
		c.dec.SetEmitEnabled(false)
	}
}

// block decodes a piece of a header block, as it comes: nothing is gathered first.
func (c *conn) block(p []byte, last bool) error {
	h := &c.head
	h.frames++
	if h.bytes += len(p); h.bytes > 2*c.set.HeaderBytes+frameSize || h.frames > maxBlockFrames {
		return c.flood("header block too large")
	}
	if _, err := c.dec.Write(p); err != nil {
		return &Error{Code: http2.ErrCodeCompression, Text: "header block: " + err.Error()}
	}
	if !last {
		return nil
	}
	if err := c.dec.Close(); err != nil {
		return &Error{Code: http2.ErrCodeCompression, Text: "header block: " + err.Error()}
	}
	sec := h.sec
	h.sec, c.late = nil, 0
	return c.role.section(h.id, sec, h.end)
}

func (c *conn) ping(f *http2.PingFrame) error {
	if !f.IsAck() {
		c.mu.Lock()
		_ = c.fr.WritePing(true, f.Data)
		c.mu.Unlock()
		return c.spend(1)
	}
	c.mu.Lock()
	c.pinged = 0
	c.mu.Unlock()
	c.role.ponged(f.Data)
	return c.spend(1)
}

func (c *conn) goneAway(f *http2.GoAwayFrame) error {
	c.mu.Lock()
	c.role.gone(f.LastStreamID, f.ErrCode)
	c.mu.Unlock()
	return c.spend(1)
}

// rst takes the peer's reset of a stream. One that spares us work which has begun is counted: opening streams only to
// cancel them costs the peer nothing and us a request each (CVE-2023-44487). Whose answer has begun has been worked for like
// any other: that is how clients end what streams to them.
func (c *conn) rst(f *http2.RSTStreamFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[f.StreamID]
	if s == nil {
		if !c.role.begun(f.StreamID) {
			return &Error{Code: http2.ErrCodeProtocol, Text: "RST_STREAM for an idle stream"}
		}
		return c.spendLocked(1)
	}
	s.refused = f.ErrCode == http2.ErrCodeRefusedStream
	begun := s.headSent
	c.drop(s, s.kind.reset)
	c.closed.add(f.StreamID, false)
	if begun {
		return c.spendLocked(1)
	}
	if !c.resets.spend(1) {
		return c.flooded("streams reset too often")
	}
	return nil
}

// refuse resets a stream for what the peer did on it. The peer can make us do so as cheaply as it can itself
// (CVE-2025-8671), so that counts the same.
func (c *conn) refuse(id uint32, code http2.ErrCode) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[id]; s != nil {
		c.drop(s, s.kind.bad)
	} else if !c.role.begun(id) {
		return &Error{Code: http2.ErrCodeProtocol, Text: "frame for an idle stream"}
	}
	c.rstLocked(id, code)
	if !c.resets.spend(1) {
		return c.flooded("made us reset streams too often")
	}
	return nil
}

// rstLocked writes RST_STREAM and remembers that frames which are still on their way mean nothing.
func (c *conn) rstLocked(id uint32, code http2.ErrCode) {
	_ = c.fr.WriteRSTStream(id, code)
	c.closed.add(id, true)
}

// drop takes s off the wire: its readers and writers get f, nil if nothing is wrong with it. mu is held.
func (c *conn) drop(s *stream, f *fault.Fault) {
	if f != nil {
		s.kill(f)
	}
	if c.streams[s.id] == s {
		delete(c.streams, s.id)
		s.release()
	}
}

// settle lets others write what the reading goroutine has left to be written.
func (c *conn) settle() {
	c.mu.Lock()
	if c.control > 0 { // heads and bodies that lie there will be flushed by those who put them there
		c.kick()
	}
	c.mu.Unlock()
}

// patience is how long the next read may wait.
func (c *conn) patience(now int64) (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	if c.late != 0 && now >= c.late {
		return 0, errLate
	}
	until, err := c.role.patience(now)
	if err != nil {
		return 0, err
	}
	until = sooner(until, c.late)
	if ping := int64(c.set.Ping); ping > 0 && len(c.streams) > 0 {
		quiet := max(c.in.last, c.pinged)
		switch {
		case c.pinged > c.in.last && now-c.pinged >= ping:
			return 0, errDead
		case now-quiet >= ping:
			_ = c.fr.WritePing(false, alive)
			c.kick()
			c.pinged, quiet = now, now
		}
		until = sooner(until, quiet+ping)
	}
	if until == 0 {
		return 0, nil
	}
	return time.Duration(max(until-now, int64(time.Millisecond))), nil
}

var alive = [8]byte{'w', 'e', 'i', 'r', 'l', 'i', 'v', 'e'}

// sooner gives the earlier of two times of which 0 is never.
func sooner(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
