// Package wire is HTTP/1.1 on the wire: one strict reader of heads, bodies and trailers, used for clients and upstreams
// alike, and the writer of what weir sends. What it accepts has one meaning only (RFC 9112 §11.2); what it writes is built
// anew, never copied through.
package wire

import (
	"bytes"
	"encoding/binary"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

// Underscores says what becomes of field names with an underscore.
type Underscores uint8

const (
	DropUnderscores Underscores = iota
	RefuseUnderscores
	PassUnderscores
)

// Limits bound a head. The zero value is not useful; see Defaults.
type Limits struct {
	HeaderBytes int // of the whole head, request line and end included
	Fields      int
	Target      int
	Underscores Underscores
}

// Defaults are the limits of a node whose configuration says nothing.
var Defaults = Limits{HeaderBytes: 32 << 10, Fields: 100, Target: 8 << 10}

// maxNominated is the most options a Connection field may name.
const maxNominated = 10

var (
	// ErrMore says that the head is not complete yet.
	ErrMore = fault.New(fault.RequestTimeout, "head incomplete")

	errHeaderTooLarge = fault.New(fault.HeaderTooLarge, "header section too large")
	errTooManyFields  = fault.New(fault.HeaderTooLarge, "too many fields")
	errTargetTooLong  = fault.New(fault.TargetTooLong, "request target too long")
	errVersion        = fault.New(fault.VersionUnknown, "HTTP version not 1.0 or 1.1")
	errMethod         = fault.New(fault.MethodRefused, "CONNECT and TRACE are refused")
	errCoding         = fault.New(fault.CodingUnknown, "transfer coding other than chunked")
	errExpect         = fault.New(fault.ExpectationUnknown, "expectation other than 100-continue")

	errLine       = fault.New(fault.BadRequest, "line not ended by CRLF")
	errStart      = fault.New(fault.BadRequest, "malformed request line")
	errName       = fault.New(fault.BadRequest, "malformed field name")
	errUnderscore = fault.New(fault.BadRequest, "field name with underscore")
	errValue      = fault.New(fault.BadRequest, "control character in field value")
	errLength     = fault.New(fault.BadRequest, "malformed Content-Length")
	errLengths    = fault.New(fault.BadRequest, "Content-Length fields differ")
	errFraming    = fault.New(fault.BadRequest, "Transfer-Encoding where it may not be")
	errHost       = fault.New(fault.BadRequest, "Host missing, repeated or malformed")
	errTarget     = fault.New(fault.BadRequest, "malformed request target")
	errNominated  = fault.New(fault.BadRequest, "Connection nominates a field it must not, or too many")
	errUpgrade    = fault.New(fault.BadRequest, "malformed WebSocket handshake")
)

// framing is what the fields of a head say about the message and the connection. Those fields end here: they are not
// put into the Header, so nothing later can forward or believe them.
type framing struct {
	length    int64 // Content-Length, -1 without
	chunked   bool
	codings   int
	hosts     int
	host      []byte
	close     bool
	keepAlive bool
	upgrade   bool // Connection: upgrade
	websocket bool // Upgrade: websocket
	upgrades  int
	trailers  bool // TE: trailers
	expects   int
	expect    []byte
	nominated [maxNominated][]byte
	n         int
}

// HeadEnd finds the end of the head that begins at buf[0], looking from offset from on. 0 and no error: not there yet.
// A line that ends in a bare LF is told at once, or a client that sends only those would hang until its deadline.
func HeadEnd(buf []byte, from int) (int, error) {
	at := max(from-3, 0)
	if i := bytes.Index(buf[at:], []byte("\r\n\r\n")); i >= 0 {
		return at + i + 4, nil
	}
	for i := at; ; {
		j := bytes.IndexByte(buf[i:], '\n')
		if j < 0 {
			return 0, nil
		}
		i += j
		if i == 0 || buf[i-1] != '\r' {
			return 0, errLine
		}
		i++
	}
}

// MayBegin reports whether a request can begin with c: what can't is told before its first line is whole.
func MayBegin(c byte) bool { return tokenByte[c] != 0 || c == '\r' }

// fields reads field lines from b[i] to the empty line that ends b, into h and fr.
func fields(b []byte, i int, lim *Limits, h *exchange.Header, fr *framing) error {
	fr.length = -1
	for {
		if b[i] == '\r' {
			if b[i+1] != '\n' {
				return errLine
			}
			if i+2 != len(b) {
				return errName
			}
			return nominate(h, fr)
		}
		start, seen := i, uint8(0)
		for {
			class := tokenByte[b[i]]
			if class == 0 {
				break
			}
			seen |= class
			i++
		}
		if i == start || b[i] != ':' {
			return errName // also a folded line, space before the colon, an empty name
		}
		name := b[start:i]
		i++
		for b[i] == ' ' || b[i] == '\t' {
			i++
		}
		end := i + bytes.IndexByte(b[i:], '\r') // b ends in CRLFCRLF
		if b[end+1] != '\n' {
			return errValue
		}
		value := b[i:end]
		i = end + 2
		for len(value) > 0 && (value[len(value)-1] == ' ' || value[len(value)-1] == '\t') {
			value = value[:len(value)-1]
		}
		if !cleanValue(value) {
			return errValue
		}
		if h.Len()+1 > lim.Fields {
			return errTooManyFields
		}
		if seen&underscore != 0 && lim.Underscores != PassUnderscores {
			if lim.Underscores == RefuseUnderscores {
				return errUnderscore
			}
			continue
		}
		if err := field(h, fr, name, value); err != nil {
			return err
		}
	}
}

// field files one field under what it is.
func field(h *exchange.Header, fr *framing, name, value []byte) error {
	id := exchange.Identify(name)
	switch id {
	case exchange.Host:
		fr.hosts++
		fr.host = value
		return nil
	case exchange.ContentLength:
		n, ok := parseLength(value)
		if !ok {
			return errLength
		}
		if fr.length >= 0 && fr.length != n {
			return errLengths
		}
		fr.length = n
		return nil
	case exchange.TransferEncoding:
		fr.codings++
		fr.chunked = exchange.EqualFold(value, "chunked")
		if !fr.chunked {
			return errCoding
		}
		return nil
	case exchange.Connection:
		return options(fr, value)
	case exchange.Upgrade:
		fr.upgrades++
		fr.websocket = exchange.EqualFold(value, "websocket")
		return nil
	case exchange.Expect:
		fr.expects++
		fr.expect = value
		return nil
	case exchange.TE:
		fr.trailers = fr.trailers || hasFold(value, "trailers")
		return nil
	case exchange.KeepAlive, exchange.ProxyConnection, exchange.ProxyAuthorization, exchange.Trailer, exchange.HTTP2Settings:
		return nil
	}
	h.Append(name, value, id)
	return nil
}

// options reads a Connection field (RFC 9110 §7.6.1).
func options(fr *framing, value []byte) error {
	for len(value) > 0 {
		opt := value
		if i := bytes.IndexByte(value, ','); i >= 0 {
			opt, value = value[:i], value[i+1:]
		} else {
			value = nil
		}
		opt = bytes.Trim(opt, " \t")
		switch {
		case len(opt) == 0:
		case exchange.EqualFold(opt, "close"):
			fr.close = true
		case exchange.EqualFold(opt, "keep-alive"):
			fr.keepAlive = true
		case exchange.EqualFold(opt, "upgrade"):
			fr.upgrade = true
		case fr.n == maxNominated:
			return errNominated
		default:
			fr.nominated[fr.n] = opt
			fr.n++
		}
	}
	return nil
}

// nominate takes the fields that Connection named out of h. Those that frame, route or identify must not be named: the
// next hop would see another message than the one that was checked.
func nominate(h *exchange.Header, fr *framing) error {
	for _, name := range fr.nominated[:fr.n] {
		switch id := exchange.Identify(name); id {
		case exchange.Host, exchange.ContentLength, exchange.TransferEncoding, exchange.Authorization, exchange.Cookie,
			exchange.XForwardedFor, exchange.XForwardedHost, exchange.XForwardedPort, exchange.XForwardedProto,
			exchange.Forwarded, exchange.XRealIP, exchange.XRequestID:
			return errNominated
		}
		h.Del(string(name))
	}
	return nil
}

// parseLength reads a Content-Length: digits only, no overflow (RFC 9110 §8.6).
func parseLength(v []byte) (n int64, ok bool) {
	if len(v) == 0 || len(v) > 32 {
		return 0, false
	}
	for _, c := range v {
		if c-'0' > 9 || n > (1<<63-1-9)/10 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// cleanValue reports whether v has valueBytes only; eight at a time while nothing is suspicious.
func cleanValue(v []byte) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for len(v) >= 8 {
		w := binary.LittleEndian.Uint64(v)
		del := w ^ 0x7f*ones
		if ((w-0x20*ones)&^w|(del-ones)&^del)&tops != 0 {
			break
		}
		v = v[8:]
	}
	for _, c := range v {
		if !valueByte[c] {
			return false
		}
	}
	return true
}
