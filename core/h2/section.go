package h2

import (
	"sync"

	"golang.org/x/net/http2/hpack"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/wire"
)

// section is a header or trailer section as it came, checked by the rules that hold for all of them (RFC 9113 §8.2, §8.3).
type section struct {
	buf    []byte // lent by pool: names and values, one behind the other
	n      int
	fields []span
	size   int // as RFC 9113 §6.5.2 counts
	limit  int
	large  bool   // beyond the limit: what came after is not here
	bad    string // why it is malformed; "" if it is not

	pseudo [pseudos]span
	has    uint8 // which of them there are
	length int64 // Content-Length; -1 without
	began  int64 // clock.Nano at its first frame
}

// span is where a field lies in a section.
type span struct {
	at, name, value int
	id              exchange.ID
}

const (
	pseudoMethod = iota
	pseudoScheme
	pseudoAuthority
	pseudoPath
	pseudoProtocol
	pseudoStatus
	pseudos

	requestPseudos = 1<<pseudoMethod | 1<<pseudoScheme | 1<<pseudoPath
)

var sections = sync.Pool{New: func() any { return new(section) }}

func acquireSection(limit int, now int64) *section {
	s := sections.Get().(*section)
	*s = section{fields: s.fields[:0], limit: limit, length: -1, began: now}
	return s
}

// releaseSection takes s back; nil is allowed. Its bytes are kept if somebody has taken them over by own.
func releaseSection(s *section) {
	if s == nil {
		return
	}
	pool.Release(s.buf)
	s.buf = nil
	if cap(s.fields) > 256 {
		s.fields = nil
	}
	sections.Put(s)
}

// own hands the buffer over: views of it stay valid until the taker releases it to pool.
func (s *section) own() []byte {
	b := s.buf
	s.buf = nil
	return b
}

// add files a field as the decoder gives it, and reports whether more are wanted.
func (s *section) add(f hpack.HeaderField) (more bool) {
	if s.size += len(f.Name) + len(f.Value) + 32; s.size > s.limit {
		s.large = true
		return false
	}
	at := s.keep(f.Name, f.Value)
	if len(f.Name) > 0 && f.Name[0] == ':' {
		s.bad = s.addPseudo(at, f.Name, len(f.Value))
		return s.bad == ""
	}
	name, value := s.buf[at:at+len(f.Name)], s.buf[at+len(f.Name):s.n]
	id := exchange.Identify(name)
	s.bad = s.check(name, value, id)
	s.fields = append(s.fields, span{at, len(name), len(value), id})
	return s.bad == ""
}

func (s *section) addPseudo(at int, name string, value int) (bad string) {
	i := pseudos
	switch name {
	case ":method":
		i = pseudoMethod
	case ":scheme":
		i = pseudoScheme
	case ":authority":
		i = pseudoAuthority
	case ":path":
		i = pseudoPath
	case ":protocol":
		i = pseudoProtocol
	case ":status":
		i = pseudoStatus
	default:
		return "unknown pseudo-field"
	}
	switch {
	case s.has&(1<<i) != 0:
		return "pseudo-field twice"
	case len(s.fields) > 0:
		return "pseudo-field behind a field"
	}
	s.has |= 1 << i
	s.pseudo[i] = span{at: at, name: len(name), value: value}
	if !cleanValue(s.get(i)) {
		return "malformed value of a pseudo-field"
	}
	return ""
}

// check says what is wrong with a field (RFC 9113 §8.2.1, §8.2.2).
func (s *section) check(name, value []byte, id exchange.ID) (bad string) {
	if len(name) == 0 {
		return "empty field name"
	}
	for _, c := range name {
		if !nameByte[c] {
			return "malformed field name"
		}
	}
	if !cleanValue(value) {
		return "malformed field value"
	}
	switch id {
	case exchange.Connection, exchange.ProxyConnection, exchange.KeepAlive, exchange.TransferEncoding, exchange.Upgrade:
		return "connection-specific field"
	case exchange.TE:
		if string(value) != "trailers" {
			return "TE other than trailers"
		}
	case exchange.ContentLength:
		n, ok := wire.ParseLength(value)
		if !ok || s.length >= 0 && s.length != n {
			return "malformed Content-Length"
		}
		s.length = n
	}
	return ""
}

// cleanValue reports whether v may be a field's value: no control characters, no space around it.
func cleanValue(v []byte) bool {
	if n := len(v); n > 0 && (v[0] == ' ' || v[0] == '\t' || v[n-1] == ' ' || v[n-1] == '\t') {
		return false
	}
	return exchange.CleanValue(v)
}

// get gives a pseudo-field's value; nil without.
func (s *section) get(i int) []byte {
	if s.has&(1<<i) == 0 {
		return nil
	}
	p := &s.pseudo[i]
	return s.buf[p.at+p.name : p.at+p.name+p.value : p.at+p.name+p.value]
}

// at gives field i, a view.
func (s *section) at(i int) (name, value []byte, id exchange.ID) {
	f := &s.fields[i]
	mid, end := f.at+f.name, f.at+f.name+f.value
	return s.buf[f.at:mid:mid], s.buf[mid:end:end], f.id
}

func (s *section) keep(name, value string) (at int) {
	need := s.n + len(name) + len(value)
	if need > len(s.buf) {
		larger := pool.Acquire(max(need, min(4*len(s.buf), pool.Large)))
		copy(larger, s.buf[:s.n])
		pool.Release(s.buf)
		s.buf = larger
	}
	at = s.n
	s.n += copy(s.buf[s.n:], name)
	s.n += copy(s.buf[s.n:], value)
	return at
}

// badTrailer reports whether a trailer section is none.
func (s *section) badTrailer() bool {
	return s.bad != "" || s.large || s.n > wire.MaxTrailerBytes || len(s.fields) > wire.MaxTrailers || s.has != 0
}

// trailerTo copies what may be forwarded of a trailer section to h.
func (s *section) trailerTo(h *exchange.Header) {
	for i := range s.fields {
		if name, value, id := s.at(i); wire.TrailerMay(name, id) {
			h.Append(h.Keep(name), h.Keep(value), id)
		}
	}
}

// nameByte marks the bytes of a field name: those of a token (RFC 9110 §5.6.2) without capitals.
var nameByte = func() (t [256]bool) {
	for c := range 256 {
		t[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z'
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()
