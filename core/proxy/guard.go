package proxy

import (
	"bytes"
	"net/netip"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/wire"
)

// maxForwarded is the most addresses of X-Forwarded-For that are believed.
const maxForwarded = 20

var (
	https = []byte("https")
	http  = []byte("http")
)

// guard settles who the client is and what of its fields may be believed.
func (w *walk) guard() error {
	x := w.x
	h := &x.Request.Header
	if w.p.Limits.Underscores == wire.PassUnderscores {
		h.DelFunc(lookalike)
	}
	trusted := w.p.Trusts(x.Client.IP)
	w.requestID(trusted)
	w.forwarded(trusted)
	w.drop(w.p.Guarded)
	x.Guarded = w.p.Untrailed // trailer fields come later
	return w.looped()
}

// dropSpent drops the guarded fields that could carry a credential, now that it has been read. What is there later a filter
// has set.
func (w *walk) dropSpent() error {
	if !w.spent {
		w.spent = true
		w.drop(w.p.Spent)
	}
	return nil
}

func (w *walk) drop(names []string) {
	for _, name := range names {
		w.x.Request.Header.DelLike(name)
	}
}

// lookalike reports whether a field would have a name that weir knows if its underscores were dashes. What it knows it
// checks, guards or writes itself, and many servers take one spelling for the other: X_Forwarded_For, Content_Length.
func lookalike(f *exchange.Field) bool {
	var name [32]byte
	if f.ID != exchange.Other || len(f.Name) > len(name) || bytes.IndexByte(f.Name, '_') < 0 {
		return false
	}
	n := copy(name[:], f.Name)
	for i, c := range name[:n] {
		if c == '_' {
			name[i] = '-'
		}
	}
	return exchange.Identify(name[:n]) != exchange.Other
}

// requestID keeps a trusted peer's id, or makes one.
func (w *walk) requestID(trusted bool) {
	x := w.x
	h := &x.Request.Header
	if id := h.GetID(exchange.XRequestID); trusted && validID(id) && h.CountID(exchange.XRequestID) == 1 {
		x.RequestID = id
		return
	}
	h.DelID(exchange.XRequestID)
	x.NewRequestID()
	h.Append(nameRequestID, x.RequestID, exchange.XRequestID)
}

var (
	nameRequestID = []byte("X-Request-Id")
	nameFor       = []byte("X-Forwarded-For")
	nameProto     = []byte("X-Forwarded-Proto")
	nameHost      = []byte("X-Forwarded-Host")
	namePort      = []byte("X-Forwarded-Port")
	nameRealIP    = []byte("X-Real-IP")
)

func validID(id []byte) bool {
	if len(id) == 0 || len(id) > 128 {
		return false
	}
	for _, c := range id {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// forwarded reads the forwarding fields of a trusted peer, drops them from any other, and writes them anew.
func (w *walk) forwarded(trusted bool) {
	x := w.x
	h := &x.Request.Header
	proto := http
	if x.Client.Secure {
		proto = https
	}
	host := x.Request.Host
	var chain, port []byte
	if trusted {
		chain = w.believe()
		if p := h.GetID(exchange.XForwardedProto); bytes.EqualFold(p, https) || bytes.EqualFold(p, http) {
			proto = p
			x.Client.Secure = len(p) == len(https)
		}
		if v := h.GetID(exchange.XForwardedHost); len(v) > 0 {
			host = v
		}
		if v := h.GetID(exchange.XForwardedPort); isPort(v) {
			port = v
		}
	}
	if port == nil {
		port = portOf(host, proto)
	}
	h.DelFunc(func(f *exchange.Field) bool {
		switch f.ID {
		case exchange.XForwardedFor, exchange.XForwardedHost, exchange.XForwardedPort, exchange.XForwardedProto, exchange.Forwarded, exchange.XRealIP:
			return true
		}
		return false
	})
	if chain == nil {
		chain = x.Client.Text
	}
	h.Append(nameFor, chain, exchange.XForwardedFor)
	h.Append(nameProto, proto, exchange.XForwardedProto)
	if len(host) > 0 {
		h.Append(nameHost, host, exchange.XForwardedHost)
	}
	h.Append(namePort, port, exchange.XForwardedPort)
	real := x.Client.Text
	if x.Client.IP != x.Client.Peer.Addr() {
		x.Scratch = x.Client.IP.AppendTo(x.Scratch[:0])
		real = h.Keep(x.Scratch)
	}
	h.Append(nameRealIP, real, exchange.XRealIP)
}

// believe finds the client's address: the right-most one of X-Forwarded-For that is no trusted proxy's. Too many or
// malformed ones are not believed at all. It gives the chain to send on, nil if there is none.
func (w *walk) believe() []byte {
	x := w.x
	h := &x.Request.Header
	x.Scratch = x.Scratch[:0]
	for i := range h.Len() {
		if f := h.At(i); f.ID == exchange.XForwardedFor {
			if len(x.Scratch) > 0 {
				x.Scratch = append(x.Scratch, ", "...)
			}
			x.Scratch = append(x.Scratch, f.Value...)
		}
	}
	ip := x.Client.Peer.Addr()
	rest := x.Scratch
	for n := 0; len(rest) > 0; n++ {
		item := rest
		if i := bytes.LastIndexByte(rest, ','); i >= 0 {
			item, rest = rest[i+1:], rest[:i]
		} else {
			rest = nil
		}
		a, ok := parseIP(bytes.TrimSpace(item))
		if !ok || n == maxForwarded {
			return nil
		}
		ip = a
		if !w.p.Trusts(a) {
			break
		}
	}
	if len(x.Scratch) == 0 {
		return nil
	}
	x.Client.IP = ip
	x.Scratch = append(x.Scratch, ", "...)
	x.Scratch = append(x.Scratch, x.Client.Text...)
	return h.Keep(x.Scratch)
}

// parseIP reads an address as proxies write it: bare, with a port, or an IPv6 one in brackets.
func parseIP(b []byte) (netip.Addr, bool) {
	if len(b) == 0 || len(b) > 64 {
		return netip.Addr{}, false
	}
	s := viewString(b)
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		if a, err := netip.ParseAddr(s[1 : len(s)-1]); err == nil {
			return a.Unmap().WithZone(""), true
		}
	}
	return netip.Addr{}, false
}

func (w *walk) checkIP() error {
	ip := w.x.Client.IP
	if w.rt.Deny != nil && w.rt.Deny.Contains(ip) || w.rt.Allow != nil && !w.rt.Allow.Contains(ip) {
		w.x.Record.Reason = "ip"
		return errForbidden
	}
	return nil
}

var errForbidden = fault.New(fault.Forbidden, "refused by policy")
