package route

import (
	"bytes"

	"github.com/weirproxy/weir/core/exchange"
)

// Preflight gives the method that a browser asks for before it sends the request itself (Fetch standard §3.3.3); nil if r
// is no CORS preflight.
func Preflight(r *exchange.Request) []byte {
	if string(r.Method) != "OPTIONS" || r.Header.GetID(exchange.Origin) == nil {
		return nil
	}
	return r.Header.Get("access-control-request-method")
}

// preflight reports whether r may be satisfied by the request that q is the preflight for. A preflight has neither the
// values of that request's fields nor the names of those that need no permission.
func (r *rule) preflight(q *query) bool {
	if !r.preflights || q.wants == nil || len(r.methods) > 0 && !r.hasMethod(q.wants) {
		return false
	}
	for i := range r.headers {
		if h := &r.headers[i]; !hasField(&q.r.Header, h) && !safelisted(h.Name) && !announced(&q.r.Header, h.Name) {
			return false
		}
	}
	return true
}

// safelisted tells the fields that scripts may set without asking (Fetch standard §2.2.2), in lower case.
func safelisted(name string) bool {
	switch name {
	case "accept", "accept-language", "content-language", "content-type":
		return true
	}
	return false
}

// announced reports whether a preflight's fields name the lower-case field that the request will have.
func announced(h *exchange.Header, name string) bool {
	const list = "access-control-request-headers"
	for i := h.Index(list, 0); i >= 0; i = h.Index(list, i+1) {
		for rest := h.At(i).Value; len(rest) > 0; {
			item := rest
			if j := bytes.IndexByte(rest, ','); j >= 0 {
				item, rest = rest[:j], rest[j+1:]
			} else {
				rest = nil
			}
			if exchange.EqualFold(bytes.TrimSpace(item), name) {
				return true
			}
		}
	}
	return false
}
