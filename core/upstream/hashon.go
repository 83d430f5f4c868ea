package upstream

import (
	"bytes"

	"github.com/weirproxy/weir/core/exchange"
)

// HashOn is the key of a request for BalanceHash. A request without it goes to the better of two drawn endpoints.
type HashOn struct {
	Kind HashKind
	Name string // of the header, lower-case, or of the cookie
}

// HashKind says where the key stands.
type HashKind uint8

// The places of a key.
const (
	HashHeader HashKind = iota // the first field of that name
	HashCookie
	HashIP // the client's address
)

// sum hashes x's key; false if it has none.
func (h *HashOn) sum(x *exchange.Exchange) (uint64, bool) {
	var key []byte
	switch h.Kind {
	case HashHeader:
		key = x.Request.Header.Get(h.Name)
	case HashCookie:
		key = cookie(&x.Request.Header, h.Name)
	case HashIP:
		if !x.Client.IP.IsValid() {
			return 0, false
		}
		ip := x.Client.IP.As16()
		return hash(ip[:]), true
	}
	return hash(key), len(key) > 0
}

// cookie finds the value of the first cookie called name (RFC 6265 §4.2.1); nil if there is none.
func cookie(h *exchange.Header, name string) []byte {
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != exchange.Cookie {
			continue
		}
		for rest, more := f.Value, true; more; {
			var pair []byte
			pair, rest, more = bytes.Cut(rest, semicolon)
			pair = bytes.TrimLeft(pair, " ")
			if len(pair) > len(name) && pair[len(name)] == '=' && string(pair[:len(name)]) == name {
				return bytes.Trim(pair[len(name)+1:], ` "`)
			}
		}
	}
	return nil
}

var semicolon = []byte(";")
