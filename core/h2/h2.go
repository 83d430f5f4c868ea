// Package h2 is HTTP/2 (RFC 9113) on one connection, in both roles: a Server faces a client, a Client faces an upstream.
// It moves frames, windows and header blocks; what a request means is the same exchange that HTTP/1.1 fills, so nothing
// above it asks which version spoke. What it accepts obeys the rules of package wire; what it writes is built anew.
//
// A connection has one reading goroutine, which never waits for a write, and as many writers as it has streams, which
// share one buffer and its system calls. Blocked DATA never holds up control frames or other streams.
package h2

import (
	"time"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/metric"
)

// Preface is what a client's connection begins with (RFC 9113 §3.4). A plain listener that speaks HTTP/1.1 too knows a
// client with prior knowledge by it.
const Preface = http2.ClientPreface

// Settings bound what a peer may do on one connection. The zero value of a limit takes the default that stands beside it;
// of the durations 0 is no limit.
type Settings struct {
	Streams     int // concurrent streams: of a client towards us; of us towards an upstream, if that allows as many; 100
	Window      int // bytes of a stream that may be on their way to us unread; 64 KiB, and never less
	ConnWindow  int // of all streams of the connection together; 1 MiB, and never less than 64 KiB
	HeaderBytes int // of a header section, as RFC 9113 §6.5.2 counts them: 32 a field beside its bytes; 32 KiB

	Header    time.Duration // the preface with the first SETTINGS, and any header block from its first byte to its last
	Idle      time.Duration // a Server's connection without a stream
	WriteIdle time.Duration // one write to the connection; and of a Call, one piece of body for which there is no window
	Ping      time.Duration // silence after which the peer is asked for a sign of life; as long again, and it is dead

	Resets  int // streams that the peer may cancel before they are answered or make us reset, at once; a tenth of it comes back a second; 200
	Control int // frames that carry nothing (PING, SETTINGS, empty DATA, …), at once; a tenth of it comes back a second; 2000

	Tunnels bool // a Server offers extended CONNECT (RFC 8441)

	Malformed *metric.Counter // requests or answers that broke the protocol's rules and were reset; nil counts nothing
	Refused   *metric.Counter // streams beyond Streams
	Calmed    *metric.Counter // connections ended because the peer spent Resets or Control, or flooded otherwise
}

const (
	minWindow  = 64<<10 - 1 // what a peer has before it knows our settings (RFC 9113 §6.9.2)
	frameSize  = 16 << 10   // of the frames that we take and write
	tableSize  = 4096       // of the HPACK tables (RFC 9113 §6.5.2)
	maxWindow  = 1<<31 - 1
	lastStream = 1<<31 - 1
)

func (s Settings) withDefaults() Settings {
	s.Streams = orDefault(s.Streams, 100)
	s.Window = min(max(orDefault(s.Window, 64<<10), minWindow), maxWindow)
	s.ConnWindow = min(max(orDefault(s.ConnWindow, 1<<20), minWindow), maxWindow)
	s.HeaderBytes = orDefault(s.HeaderBytes, 32<<10)
	s.Resets = orDefault(s.Resets, 200)
	s.Control = orDefault(s.Control, 2000)
	return s
}

func orDefault(n, v int) int {
	if n <= 0 {
		return v
	}
	return n
}

// Error is why a connection was ended: by us, with a GOAWAY that bears Code, or by the peer's GOAWAY.
type Error struct {
	Code http2.ErrCode
	Text string // for the log
	Peer bool   // the peer ended it
}

func (e *Error) Error() string {
	if e.Peer {
		return "peer ended the connection: " + e.Code.String()
	}
	return e.Text + " (" + e.Code.String() + ")"
}

var (
	// ErrFull says that the peer takes no more streams at the moment: another connection is needed.
	ErrFull = fault.New(fault.UpstreamBusy, "no stream free on this HTTP/2 connection")
	// ErrEnded says that the connection takes no streams any more.
	ErrEnded = fault.New(fault.UpstreamReset, "HTTP/2 connection takes no more streams")
)
