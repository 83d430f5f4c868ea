package proxy

import (
	"bytes"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/route"
)

// preflight answers the question that a browser asks before a request of another origin's page (Fetch standard §4.8). One
// of an origin that is not listed is refused: the browser blocks the page either way, and so logs and counters tell why.
// Without cors on its route a preflight is a request like any other.
func (w *walk) preflight() error {
	x := w.x
	if w.rt.CORS == nil || route.Preflight(&x.Request) == nil {
		return nil
	}
	w.asks = true
	if w.origin == nil {
		x.Record.Reason = "cors"
		return errForbidden
	}
	x.Response.Local, w.done = true, true
	x.Response.Status = 204
	return nil
}

var (
	nameVary        = []byte("Vary")
	nameAllowOrigin = []byte("Access-Control-Allow-Origin")
	nameCredentials = []byte("Access-Control-Allow-Credentials")
	nameAllowMethod = []byte("Access-Control-Allow-Methods")
	nameAllowHeader = []byte("Access-Control-Allow-Headers")
	nameMaxAge      = []byte("Access-Control-Max-Age")
	nameExpose      = []byte("Access-Control-Expose-Headers")

	valueTrue    = []byte("true")
	varyOrigin   = []byte("Origin")
	varyMethod   = []byte("Access-Control-Request-Method")
	varyHeaders  = []byte("Access-Control-Request-Headers")
	accessFields = "access-control-"
)

// share says who may read the answer, whoever made it. What an upstream says of that gives way: of two words a browser
// believes none. Access to private networks is never granted.
func (w *walk) share() {
	c := w.rt.CORS
	if c == nil {
		return
	}
	h := &w.x.Response.Header
	h.DelFunc(isAccess)
	if !c.Any || w.asks {
		vary(h, varyOrigin)
	}
	if w.asks {
		vary(h, varyMethod)
		vary(h, varyHeaders)
	}
	if w.origin == nil {
		return
	}
	h.Append(nameAllowOrigin, w.origin, exchange.Other)
	if c.Credentials {
		h.Append(nameCredentials, valueTrue, exchange.Other)
	}
	if !w.asks {
		appendIf(h, nameExpose, c.Expose)
		return
	}
	appendIf(h, nameAllowMethod, c.Methods)
	appendIf(h, nameAllowHeader, c.Headers)
	appendIf(h, nameMaxAge, c.MaxAge)
}

func appendIf(h *exchange.Header, name, value []byte) {
	if value != nil {
		h.Append(name, value, exchange.Other)
	}
}

func isAccess(f *exchange.Field) bool {
	return len(f.Name) > len(accessFields) && exchange.EqualFold(f.Name[:len(accessFields)], accessFields)
}

// vary adds a request field's name to those that the answer depends on, unless it is there (RFC 9110 §12.5.5).
func vary(h *exchange.Header, name []byte) {
	for i := h.Index("vary", 0); i >= 0; i = h.Index("vary", i+1) {
		for rest := h.At(i).Value; len(rest) > 0; {
			var item []byte
			item, rest, _ = bytes.Cut(rest, comma)
			if item = bytes.TrimSpace(item); bytes.EqualFold(item, name) || string(item) == "*" {
				return
			}
		}
	}
	h.Append(nameVary, name, exchange.Other)
}

var comma = []byte(",")
