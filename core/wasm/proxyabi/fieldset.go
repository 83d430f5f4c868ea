package proxyabi

import (
	"bytes"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wire"
)

// Caps on what a guest may make the host keep of one half of an exchange.
const (
	maxTarget  = 8 << 10   // bytes of a target
	maxMethod  = 32        // bytes of a method, and of a scheme
	maxFields  = 256       // fields of a section
	maxWritten = 256 << 10 // bytes of names and values
)

// setField adds a field, or makes one the only one of its name.
func (sh *shard) setField(a []uint64, add bool) status {
	f, ok := sh.fieldsOf(u32(a[0]))
	if !ok {
		return statusBadArgument
	}
	name, ok := sh.read(a[1], a[2])
	value, good := sh.read(a[3], a[4])
	if !ok || !good {
		return statusInvalidMemory
	}
	sh.set(&f, name, value, add)
	return statusOK
}

// set is setField for views of guest memory.
func (sh *shard) set(f *fields, name, value []byte, add bool) {
	if len(name)+len(value) > maxWritten { // before anybody looks at every byte of it
		sh.refuse("", "too much has been written")
		return
	}
	value = abi.Trim(value)
	lower, id := sh.lower(name), exchange.Identify(name)
	switch {
	case f.h == nil || !f.open:
		sh.refuse(lower, "the map cannot be changed now")
	case len(name) > 0 && name[0] == ':' || id == exchange.Host:
		sh.setPseudo(f, lower, value)
	case id == exchange.ContentLength: // weir sees to it
	case !abi.Token(name) || !exchange.CleanValue(value):
		sh.refuse(lower, "no client could have sent it")
	case abi.Framing(id):
		sh.refuse(lower, "it frames the message")
	case f.trailing() && !abi.MayTrail(name, id):
		sh.refuse(lower, "it may not come after a body")
	case !add && f.has(lower, value):
	case !f.charge(len(name) + len(value)):
		sh.refuse(lower, "too much has been written")
	default:
		if i := f.h.Index(lower, 0); !add && i >= 0 {
			sh.replace(f, i, lower, value)
			return
		}
		if f.h.Len() >= maxFields {
			sh.refuse(lower, "too many fields")
			return
		}
		f.h.Add(name, value)
		sh.changed(f)
	}
}

// replace gives field i, the first of its name, another value, and deletes the others.
func (sh *shard) replace(f *fields, i int, lower string, value []byte) {
	if f.h.Index(lower, i+1) < 0 {
		f.h.At(i).Value = f.h.Keep(value)
	} else {
		f.h.Set(lower, value)
	}
	sh.changed(f)
}

func (f *fields) trailing() bool {
	return f.kind == mapRequestTrailers || f.kind == mapResponseTrailers
}

// charge reports whether n more bytes may be written.
func (f *fields) charge(n int) bool {
	if f.half.written+n > maxWritten {
		return false
	}
	f.half.written += n
	return true
}

// changed has the route found anew after a change of the request's fields: Envoy does so for any of them, and routes may match
// on any. Finding one costs 17 to 150 ns (route.BenchmarkFind).
func (sh *shard) changed(f *fields) {
	if f.kind == mapRequestHeaders {
		f.half.st.rerouted = true
	}
}

// reroute is what proxy_clear_route_cache, and the foreign function of that name, ask for.
func (sh *shard) reroute() {
	if st := sh.stream(); st != nil && !sh.granting && st.request.open && st.at(&st.request) {
		st.rerouted = true
	}
}

// setPseudo changes what stands before a section: the value is as a client could have sent it, or it stays what it was.
func (sh *shard) setPseudo(f *fields, name string, value []byte) {
	ok := false
	has := f.kind == mapRequestHeaders && name != nameStatus || f.kind == mapResponseHeaders && name == nameStatus
	switch old, _ := f.extra(name); {
	case !has:
	case len(old) > 0 && bytes.Equal(old, value):
		return
	case !f.charge(2 * len(value)): // normalising keeps a copy of its own
	case name == nameAuthority, name == nameHost:
		if ok = wire.ValidHost(value); ok {
			f.x.Request.Host = f.h.Keep(value)
		}
	case name == namePath:
		ok = setTarget(&f.x.Request, value)
	case name == nameMethod:
		ok = abi.Token(value) && len(value) <= maxMethod && string(value) != "CONNECT" && string(value) != "TRACE"
		if ok {
			f.x.Request.Method = f.h.Keep(value)
			f.half.st.method = f.x.Request.Method
		}
	case name == nameScheme:
		ok = abi.Token(value) && len(value) <= maxMethod && f.x.Notes.Set(noteScheme, value)
	case name == nameStatus:
		ok = setStatus(&f.x.Response, value)
	}
	if !ok {
		sh.refuse(name, "no message can say that")
		return
	}
	sh.changed(f)
}

// setTarget makes t the request's target, normalised as a client's is. It stays the old one if t is none.
func setTarget(r *exchange.Request, t []byte) bool {
	asterisk := string(t) == "*" && string(r.Method) == "OPTIONS"
	if len(t) == 0 || t[0] != '/' && !asterisk || len(t) > maxTarget || !abi.Visible(t) {
		return false
	}
	target, path, query := r.Target, r.Path, r.Query
	r.Target = r.Header.Keep(t)
	if asterisk {
		r.Path, r.Query = r.Target, nil
		return true
	}
	if err := wire.Normalise(r); err != nil {
		r.Target, r.Path, r.Query = target, path, query
		return false
	}
	return true
}

// setStatus takes final statuses, but for an answer that hands the connection over: that cannot be taken back.
func setStatus(r *exchange.Response, v []byte) bool {
	n, ok := wire.ParseLength(v)
	if !ok || len(v) != 3 || n < 200 || n > 599 || r.Status == 101 {
		return false
	}
	r.Status, r.Reason = int(n), nil
	return true
}

func removeField(sh *shard, a []uint64) status {
	f, ok := sh.fieldsOf(u32(a[0]))
	if !ok {
		return statusBadArgument
	}
	name, ok := sh.read(a[1], a[2])
	if !ok {
		return statusInvalidMemory
	}
	lower := sh.lower(name)
	switch {
	case f.h == nil || !f.open:
		sh.refuse(lower, "the map cannot be changed now")
	case lower == nameHost && f.kind == mapRequestHeaders, len(name) > 0 && name[0] == ':':
		sh.refuse(lower, "a message cannot do without it")
	case lower == nameLength:
		f.unsize()
	case f.h.Index(lower, 0) >= 0:
		f.h.Del(lower)
		sh.changed(&f)
	}
	return statusOK
}

// unsize is what becomes of a section without Content-Length: the body's end is told by other means.
func (f *fields) unsize() {
	if f.x != nil && !f.trailing() {
		f.half.unsized = true
	}
}

// refuse counts what a guest has said and nobody hears, and tells of it once a second.
func (sh *shard) refuse(name, why string) {
	sh.vm.dropped.Add(1)
	second := clock.Nano()/int64(time.Second) + 1
	last := sh.vm.told.Load()
	if last == second || !sh.vm.told.CompareAndSwap(last, second) {
		return
	}
	if j := sh.journal(); j.Enabled(zerolog.WarnLevel) && j.Admit() {
		e := j.Log().Warn().Str("field", name[:min(len(name), 64)]).Str("reason", why)
		if st := sh.stream(); st != nil {
			e = e.Bytes("request_id", st.x.RequestID)
		}
		e.Msg("a field that the filter has set is left out")
	}
}

// verb is the request's method. That of the exchange belongs to who serves it: while a body is on its way up, what it was when
// the header section passed stands for it.
func (st *stream) verb() []byte {
	if st.method == nil || st.settled() {
		return st.x.Request.Method
	}
	return st.method
}

// protocol is the request's version of HTTP, with the same caution.
func (st *stream) protocol() int {
	if st.method == nil || st.settled() {
		return st.x.Request.Version
	}
	return st.version
}
