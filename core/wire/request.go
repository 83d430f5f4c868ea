package wire

import (
	"bytes"

	"github.com/weirproxy/weir/core/exchange"
)

// BodyMode says how the end of a body is found (RFC 9112 §6.3).
type BodyMode uint8

const (
	NoBody BodyMode = iota
	FixedBody
	ChunkedBody
	CloseBody // until the connection ends; answers only
)

// Framing is how a message's body lies on the wire and whether the connection can be used after it.
type Framing struct {
	Mode   BodyMode
	Length int64 // of a FixedBody
	Close  bool
}

// ParseRequest reads a whole head, as HeadEnd found it, into r, whose fields become views of head. secure says that the
// connection is TLS. Connection-level fields are used up here: r.Header holds what may go to an upstream and nothing else.
func ParseRequest(head []byte, secure bool, lim *Limits, r *exchange.Request) (Framing, error) {
	var fr framing
	if lim.LenientLF {
		head, fr.repaired = canonical(head)
	}
	i, err := requestLine(head, lim, r)
	if err != nil {
		return Framing{}, err
	}
	if err := fields(head, i, lim, &r.Header, &fr); err != nil {
		return Framing{}, err
	}
	if err := authority(r, &fr, secure, lim); err != nil {
		return Framing{}, err
	}
	return frame(r, &fr)
}

func requestLine(b []byte, lim *Limits, r *exchange.Request) (int, error) {
	i := 0
	for tokenByte[b[i]] != 0 {
		i++
	}
	if i == 0 || i > 32 || b[i] != ' ' || string(b[:i]) == "PRI" { // PRI begins HTTP/2 (RFC 9113 §3.4)
		return 0, errStart
	}
	r.Method = b[:i]
	i++
	start := i
	for targetByte[b[i]] {
		i++
	}
	if i-start > lim.Target {
		return 0, errTargetTooLong
	}
	if i == start || b[i] != ' ' {
		return 0, errStart
	}
	r.Target = b[start:i]
	version := b[i+1:]
	// "HTTP/1.1" and CRLF: the head ends in CRLFCRLF, so there may be less than that.
	if len(version) < 10 || string(version[:5]) != "HTTP/" || version[5]-'0' > 9 || version[6] != '.' || version[7]-'0' > 9 ||
		version[8] != '\r' || version[9] != '\n' {
		return 0, errStart
	}
	if version[5] != '1' || version[7] > '1' {
		return 0, errVersion
	}
	r.Version = exchange.HTTP10 + int(version[7]-'0')
	if string(r.Method) == "CONNECT" || string(r.Method) == "TRACE" {
		return 0, errMethod
	}
	return i + 11, nil
}

// authority settles the host and the target's form (RFC 9112 §3.2, §3.3).
func authority(r *exchange.Request, fr *framing, secure bool, lim *Limits) error {
	if fr.hosts > 1 || fr.hosts == 0 && r.Version != exchange.HTTP10 {
		return errHost
	}
	if fr.hosts == 1 && !(len(fr.host) == 0 && r.Version == exchange.HTTP10) && !ValidHost(fr.host) {
		return errHost
	}
	r.Host = fr.host
	t := r.Target
	switch {
	case t[0] == '/':
	case len(t) == 1 && t[0] == '*' && string(r.Method) == "OPTIONS":
		r.Path, r.Query = t, nil
		return nil
	default:
		rest, ok := cutScheme(t, secure)
		if !ok {
			return errTarget
		}
		host := rest
		if i := bytes.IndexAny(rest, "/?"); i >= 0 {
			host, rest = rest[:i], rest[i:]
		} else {
			rest = nil
		}
		if !ValidHost(host) || fr.hosts == 1 && !sameHost(host, fr.host, secure) {
			return errHost
		}
		r.Host = host
		if len(rest) == 0 && string(r.Method) == "OPTIONS" { // RFC 9112 §3.2.4
			r.Target, r.Path, r.Query = asterisk, asterisk, nil
			return nil
		}
		if len(rest) == 0 || rest[0] == '?' {
			rest = r.Header.Keep(append([]byte{'/'}, rest...))
		}
		r.Target = rest
	}
	return lim.Normalise(r)
}

var asterisk = []byte("*")

func cutScheme(t []byte, secure bool) ([]byte, bool) {
	scheme := "http://"
	if secure {
		scheme = "https://"
	}
	if len(t) <= len(scheme) || !exchange.EqualFold(t[:len(scheme)], scheme) {
		return nil, false
	}
	return t[len(scheme):], true
}

// frame decides where the body ends, whether the connection lasts, and what kind of request this is.
func frame(r *exchange.Request, fr *framing) (Framing, error) {
	f := Framing{Close: fr.close || fr.repaired || r.Version == exchange.HTTP10 && !fr.keepAlive}
	r.Close, r.Trailers = f.Close, fr.trailers
	switch {
	case fr.codings > 1, fr.codings == 1 && (fr.length >= 0 || r.Version == exchange.HTTP10):
		return f, errFraming
	case fr.chunked:
		f.Mode = ChunkedBody
	case fr.length > 0:
		f.Mode, f.Length = FixedBody, fr.length
	}
	if fr.expects > 0 && r.Version != exchange.HTTP10 {
		if fr.expects > 1 || !exchange.EqualFold(fr.expect, "100-continue") {
			return f, errExpect
		}
		r.Expect = f.Mode != NoBody
	}
	if fr.upgrade && fr.websocket && r.Version == exchange.HTTP11 {
		if fr.upgrades > 1 || f.Mode != NoBody || string(r.Method) != "GET" || !handshake(&r.Header) {
			return f, errUpgrade
		}
		r.Upgrade = true
	}
	return f, nil
}

// handshake reports whether h has what a WebSocket handshake must (RFC 6455 §4.2.1).
func handshake(h *exchange.Header) bool {
	key, version := h.Index("sec-websocket-key", 0), h.Index("sec-websocket-version", 0)
	if key < 0 || version < 0 || h.Index("sec-websocket-key", key+1) >= 0 || h.Index("sec-websocket-version", version+1) >= 0 {
		return false
	}
	k := h.At(key).Value
	if len(k) != 24 || string(k[22:]) != "==" {
		return false
	}
	for _, c := range k[:22] {
		if !alnum(int(c)) && c != '+' && c != '/' {
			return false
		}
	}
	return string(h.At(version).Value) == "13"
}
