// Package wire is HTTP/1.1 on the wire: one strict reader of heads, bodies and trailers, used for clients and upstreams
// alike, and the writer of what weir sends. What it accepts has one meaning only (RFC 9112 §11.2); what it writes is built
// anew, never copied through.
package wire

import (
	"bytes"
	"iter"
	"math"

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

// Limits bound a head, and say what is done with forms that some clients have and not all servers. The zero value is not
// useful; see Defaults.
type Limits struct {
	HeaderBytes int // of the whole head, request line and end included
	Fields      int
	Target      int
	Underscores Underscores

	LenientLF     bool // a bare LF ends a line of a head, too; the connection is not used again after one
	RefuseSlashes bool // encoded slashes and backslashes in a path are refused
	MergeSlashes  bool // slashes that follow one another in a path are made one
}

// Defaults are the limits of a node whose configuration says nothing.
var Defaults = Limits{HeaderBytes: 32 << 10, Fields: 100, Target: 8 << 10}

// maxOptions is the most options that the Connection fields of a head may have.
const maxOptions = 10

var (
	errTooManyFields = fault.New(fault.HeaderTooLarge, "too many fields")
	errTargetTooLong = fault.New(fault.TargetTooLong, "request target too long")
	errVersion       = fault.New(fault.VersionUnknown, "HTTP version not 1.0 or 1.1")
	errMethod        = fault.New(fault.MethodRefused, "CONNECT and TRACE are refused")
	errCoding        = fault.New(fault.CodingUnknown, "transfer coding other than chunked")
	errExpect        = fault.New(fault.ExpectationUnknown, "expectation other than 100-continue")

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
	errCodings    = fault.New(fault.BadRequest, "malformed Transfer-Encoding")
	errNominated  = fault.New(fault.BadRequest, "Connection names a field it must not, too many, or what is no name")
	errUpgrade    = fault.New(fault.BadRequest, "malformed WebSocket handshake")
)

// framing is what the fields of a head say about the message and the connection. Those fields end here: they are not
// put into the Header, so nothing later can forward or believe them.
type framing struct {
	trailer   bool // the section follows a body
	lines     int
	length    int64 // Content-Length, -1 without
	lengths   int
	digits    []byte // of the first
	repaired  bool   // it was repeated, or had leading zeros: the sender is not to be trusted with another message
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
	options   int // of Connection, all of them
	nominated [maxOptions][]byte
	n         int
}

// HeadEnd finds the end of the head that begins at buf[0], looking from offset from on. 0 and no error: not there yet.
// A line that ends in a bare LF is told at once, or a client that sends only those would hang until its deadline.
func HeadEnd(buf []byte, from int) (int, error) { return Defaults.HeadEnd(buf, from) }

// HeadEnd is the function of that name under l: with LenientLF, a bare LF ends a line and an empty one the head.
func (l *Limits) HeadEnd(buf []byte, from int) (int, error) {
	if l.LenientLF {
		return lenientEnd(buf, from), nil
	}
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

func lenientEnd(buf []byte, from int) int {
	for i := max(from-3, 0); ; {
		j := bytes.IndexByte(buf[i:], '\n')
		if j < 0 {
			return 0
		}
		i += j + 1
		switch {
		case i < len(buf) && buf[i] == '\n':
			return i + 1
		case i+1 < len(buf) && buf[i] == '\r' && buf[i+1] == '\n':
			return i + 2
		}
	}
}

// canonical gives head with every line ended by CRLF, and whether that made it another one.
func canonical(head []byte) ([]byte, bool) {
	bare := 0
	for i, c := range head {
		if c == '\n' && (i == 0 || head[i-1] != '\r') {
			bare++
		}
	}
	if bare == 0 {
		return head, false
	}
	out := make([]byte, 0, len(head)+bare)
	for i, c := range head {
		if c == '\n' && (i == 0 || head[i-1] != '\r') {
			out = append(out, '\r')
		}
		out = append(out, c)
	}
	return out, true
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
		raw := i
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
		if !exchange.CleanValue(value) {
			return errValue
		}
		if fr.lines++; fr.lines > lim.Fields {
			return errTooManyFields
		}
		if seen&underscore != 0 && lim.Underscores != PassUnderscores {
			if lim.Underscores == RefuseUnderscores {
				return errUnderscore
			}
			continue
		}
		if err := field(h, fr, name, value, b[raw:end]); err != nil {
			return err
		}
	}
}

// field files one field under what it is. raw is the value with the space around it.
func field(h *exchange.Header, fr *framing, name, value, raw []byte) error {
	id := exchange.Identify(name)
	if fr.trailer {
		if trailerMay(name, id) {
			h.Append(name, value, id)
		}
		return nil
	}
	switch id {
	case exchange.Host:
		fr.hosts++
		fr.host = value
		return nil
	case exchange.ContentLength:
		return length(fr, value)
	case exchange.TransferEncoding:
		return coding(fr, value, raw)
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
		for item := range list(value) {
			fr.trailers = fr.trailers || exchange.EqualFold(item, "trailers")
		}
		return nil
	case exchange.KeepAlive, exchange.ProxyConnection, exchange.ProxyAuthorization, exchange.Trailer, exchange.HTTP2Settings:
		return nil
	}
	h.Append(name, value, id)
	return nil
}

// length files a Content-Length: digits only, no overflow (RFC 9110 §8.6). A repeated one may only repeat, digit by digit.
func length(fr *framing, value []byte) error {
	n, ok := parseLength(value)
	if !ok {
		return errLength
	}
	if fr.lengths > 0 && !bytes.Equal(fr.digits, value) {
		return errLengths
	}
	fr.digits = value
	fr.lengths++
	fr.repaired = fr.repaired || fr.lengths > 1 || value[0] == '0' && len(value) > 1
	fr.length = n
	return nil
}

func parseLength(v []byte) (n int64, ok bool) {
	if len(v) == 0 || len(v) > 32 {
		return 0, false
	}
	for _, c := range v {
		d := int64(c - '0')
		if d > 9 || n > (math.MaxInt64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// coding files a Transfer-Encoding, of which there is one good form. Space other than the usual one is what makes the
// next reader pass the field over (RFC 9112 §11.2).
func coding(fr *framing, value, raw []byte) error {
	fr.codings++
	fr.chunked = exchange.EqualFold(value, "chunked")
	if fr.chunked && (len(raw) == len(value) || len(raw) == len(value)+1 && raw[0] == ' ') {
		return nil
	}
	first := value
	if i := bytes.IndexAny(value, ",; "); i >= 0 {
		first = value[:i]
	}
	for _, known := range codings {
		if exchange.EqualFold(first, known) {
			return errCoding
		}
	}
	return errCodings
}

// codings are those that there are beside chunked (RFC 9112 §7, RFC 2616 §3.6).
var codings = [...]string{"gzip", "x-gzip", "deflate", "compress", "x-compress", "identity", "br", "zstd"}

// options files a Connection field (RFC 9110 §7.6.1).
func options(fr *framing, value []byte) error {
	for opt := range list(value) {
		if fr.options++; fr.options > maxOptions || !isToken(opt) {
			return errNominated
		}
		switch {
		case exchange.EqualFold(opt, "close"):
			fr.close = true
		case exchange.EqualFold(opt, "keep-alive"):
			fr.keepAlive = true
		case exchange.EqualFold(opt, "upgrade"):
			fr.upgrade = true
		default:
			fr.nominated[fr.n] = opt
			fr.n++
		}
	}
	return nil
}

// list gives the items of a list that are not empty (RFC 9110 §5.6.1).
func list(value []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(value) > 0 {
			item := value
			if i := bytes.IndexByte(value, ','); i >= 0 {
				item, value = value[:i], value[i+1:]
			} else {
				value = nil
			}
			if item = bytes.Trim(item, " \t"); len(item) > 0 && !yield(item) {
				return
			}
		}
	}
}

func isToken(b []byte) bool {
	for _, c := range b {
		if tokenByte[c] == 0 {
			return false
		}
	}
	return len(b) > 0
}

// nominate takes the fields that Connection named out of h. Those that frame, route or identify must not be named: the
// next hop would see another message than the one that was checked.
func nominate(h *exchange.Header, fr *framing) error {
	for _, name := range fr.nominated[:fr.n] {
		switch exchange.Identify(name) {
		case exchange.Host, exchange.ContentLength, exchange.TransferEncoding, exchange.Authorization, exchange.Cookie,
			exchange.Forwarded, exchange.XRealIP, exchange.XRequestID:
			return errNominated
		}
		if hasFold(name, "x-forwarded-") {
			return errNominated
		}
		h.Del(string(name))
	}
	return nil
}

// hasFold reports whether b begins with a lower-case prefix, in any case.
func hasFold(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && exchange.EqualFold(b[:len(prefix)], prefix)
}
