package proxyabi

import (
	"bytes"
	"io"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wire"
)

var callFunctions = []wasm.HostFunc{
	function("proxy_http_call", "iiiiiiiiii", httpCall),
	function("proxy_get_status", "iii", getStatus),
}

// httpCall sends a request to an upstream that the configuration lets the plugin ask. What comes of it the root context is
// told later, in a call of its own, also if it fails at once. The answers are those that the Rust SDK bears.
func httpCall(sh *shard, a []uint64) status {
	name, ok1 := sh.read(a[0], a[1])
	head, ok2 := sh.read(a[2], a[3])
	body, ok3 := sh.read(a[4], a[5])
	tail, ok4 := sh.read(a[6], a[7])
	if _, ok5 := sh.in.Memory().Uint32(u32(a[9])); !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		return statusInvalidMemory
	}
	r := sh.root()
	if r == nil {
		return statusInternalFailure
	}
	if !r.mayAsk(name, false) {
		return statusBadArgument
	}
	if len(body) > sh.vm.room() {
		r.complain(tooMuch, name)
		return statusInternalFailure
	}
	e := newErrand(r, name)
	if !fillCall(e.y, head, body, tail) {
		r.complain(noRequest, name)
		e.forget()
		return statusBadArgument
	}
	timeout := callMost
	if ms := u32(a[8]); ms > 0 {
		timeout = min(time.Duration(ms)*time.Millisecond, callMost)
	}
	id, ok := sh.send(e, ticketHTTP, timeout, len(head)+len(body)+len(tail), (*errand).call)
	if !ok {
		return statusInternalFailure
	}
	return sh.put32(a[9], id)
}

// fillCall makes y's request of what a guest has written; false if it is none. Fields are held to what may come from a wire:
// one that may not is left out, as is what frames the message or ends at this hop.
func fillCall(y *exchange.Exchange, head, body, tail []byte) bool {
	r := &y.Request
	for p := parsePairs(head); ; {
		name, value, ok := p.next()
		if !ok {
			break
		}
		id := exchange.Identify(name)
		switch {
		case len(name) > 0 && name[0] == ':':
			if !setPseudo(r, name, value) {
				return false
			}
		case id == exchange.TE:
			r.Trailers = r.Trailers || exchange.EqualFold(abi.Trim(value), "trailers")
		case mayCarry(name, value, id):
			r.Header.Add(name, abi.Trim(value))
		}
	}
	if len(r.Method) == 0 || len(r.Target) == 0 || len(r.Host) == 0 {
		return false
	}
	for p := parsePairs(tail); ; {
		name, value, ok := p.next()
		if !ok {
			break
		}
		if id := exchange.Identify(name); mayCarry(name, value, id) && abi.MayTrail(name, id) {
			r.Trailer.Add(name, abi.Trim(value))
		}
	}
	r.Version = exchange.HTTP11
	r.Path = r.Target
	if i := bytes.IndexByte(r.Target, '?'); i >= 0 {
		r.Path, r.Query = r.Target[:i], r.Target[i+1:]
	}
	switch {
	case r.Trailer.Len() > 0: // only a body of unknown length has any
		r.Body.Init(-1, &bodyBytes{r.Header.Keep(body)})
	case len(body) > 0:
		r.Body.Replace(body)
	default:
		r.Body.Init(0, nil)
	}
	return true
}

// setPseudo takes what stands before the fields. The scheme is the endpoint's.
func setPseudo(r *exchange.Request, name, value []byte) bool {
	switch string(name) {
	case ":method":
		r.Method = r.Header.Keep(value)
		return len(value) <= maxMethod && abi.Token(value) && string(value) != "CONNECT" // which asks for a tunnel
	case ":path":
		r.Target = r.Header.Keep(value)
		return len(value) > 0 && len(value) <= maxTarget && abi.Visible(value) && (value[0] == '/' || string(value) == "*")
	case ":authority":
		r.Host = r.Header.Keep(value)
		return wire.ValidHost(value)
	}
	return true
}

// mayCarry reports whether a field that a guest has written may go to an upstream.
func mayCarry(name, value []byte, id exchange.ID) bool {
	return abi.Token(name) && exchange.CleanValue(value) && !abi.Framing(id) && id != exchange.Host
}

// bodyBytes is a body that is at hand.
type bodyBytes struct{ left []byte }

// Read implements exchange.Source.
func (b *bodyBytes) Read(p []byte) (int, error) {
	if len(b.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.left)
	b.left = b.left[n:]
	return n, nil
}

// Whole implements exchange.Source.
func (b *bodyBytes) Whole() bool { return true }

// getStatus tells how the call ended that the callback under way is about: a gRPC status, or why there is no HTTP answer.
func getStatus(sh *shard, a []uint64) status {
	code, text := uint32(0), []byte(nil)
	if m := sh.message; m != nil {
		code, text = m.code, m.text
	}
	if st := sh.put32(a[0], code); st != statusOK {
		return st
	}
	return sh.give(a[1], a[2], text)
}
