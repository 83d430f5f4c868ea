package proxyabi

import (
	"bytes"
	"strconv"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wire"
)

// What changes a map answers OK whatever becomes of it: the Rust SDK panics on all else, and one odd value must not cost a VM.
var fieldFunctions = []wasm.HostFunc{
	function("proxy_get_header_map_size", "ii", getMapSize),
	function("proxy_get_header_map_pairs", "iii", getPairs),
	function("proxy_set_header_map_pairs", "iii", setPairs),
	function("proxy_get_header_map_value", "iiiii", getField),
	function("proxy_add_header_map_value", "iiiii", func(sh *shard, a []uint64) status { return sh.setField(a, true) }),
	function("proxy_replace_header_map_value", "iiiii", func(sh *shard, a []uint64) status { return sh.setField(a, false) }),
	function("proxy_remove_header_map_value", "iii", removeField),
	function("proxy_clear_route_cache", "", func(sh *shard, _ []uint64) status { sh.reroute(); return statusOK }),
}

// getMapSize gives the bytes of names and values, without what a serialised map has around them, as Envoy does.
func getMapSize(sh *shard, a []uint64) status {
	f, ok := sh.fieldsOf(u32(a[0]))
	if !ok {
		return statusBadArgument
	}
	_, size := f.measure()
	return sh.put32(a[1], uint32(size))
}

func getField(sh *shard, a []uint64) status {
	f, ok := sh.fieldsOf(u32(a[0]))
	if !ok {
		return statusBadArgument
	}
	name, ok := sh.read(a[1], a[2])
	if !ok {
		return statusInvalidMemory
	}
	value, ok := f.get(sh.lower(name))
	if !ok {
		if sh.vm.version >= abi.V0_2_0 {
			return statusNotFound
		}
		value = nil // before, guests could not tell a missing field from an empty one
	}
	return sh.give(a[3], a[4], value)
}

// lower gives a name in lower case, as a view of guest memory or of sh.scratch.
func (sh *shard) lower(name []byte) string {
	for i, c := range name {
		if c-'A' >= 26 {
			continue
		}
		if len(name) > maxName {
			return "" // longer than any field
		}
		s := append(sh.scratch[:0], name...)
		for ; i < len(s); i++ {
			s[i] = abi.LowerByte(s[i])
		}
		sh.scratch = s
		return abi.ViewString(s)
	}
	return abi.ViewString(name)
}

// maxName is the most bytes of a name that is looked for, whatever it is the name of: as much as an exchange can keep. Guests name
// things by as much memory as they have, and the host cannot be stopped in the midst of a call.
const maxName = 64 << 10

// Fields that stand in no header section, since weir keeps what they say elsewhere: those before the section, which have a
// fixed number for a map, and those behind it.
const (
	nameAuthority = ":authority"
	namePath      = ":path"
	nameMethod    = ":method"
	nameScheme    = ":scheme"
	nameStatus    = ":status"
	nameHost      = "host"
	nameTE        = "te"
	nameUpgrade   = "upgrade"
	nameLength    = "content-length"
)

var (
	requestPseudo = [...]string{nameAuthority, namePath, nameMethod, nameScheme}
	answerPseudo  = [...]string{nameStatus}
	behind        = [...]string{nameTE, nameUpgrade, nameLength}
)

// before lists the pseudo fields of a map.
func (f *fields) before() []string {
	switch {
	case f.h == nil:
		return nil
	case f.kind == mapRequestHeaders:
		return requestPseudo[:]
	case f.status != 0:
		return answerPseudo[:]
	}
	return nil
}

// extra gives the value of one of the fields that stand in no header section; f.h is not nil.
func (f *fields) extra(name string) (value []byte, ok bool) {
	request := f.kind == mapRequestHeaders
	switch name {
	case nameAuthority, nameHost:
		if request {
			return f.x.Request.Host, true
		}
	case namePath:
		if request {
			return f.x.Request.Target, true
		}
	case nameMethod:
		if request {
			return f.half.st.verb(), true
		}
	case nameScheme:
		if request {
			return scheme(f.x), true
		}
	case nameStatus:
		if f.status != 0 {
			return strconv.AppendInt(f.lent, int64(f.status), 10), true
		}
	case nameTE:
		if request && f.x.Request.Trailers {
			return valueTrailers, true
		}
	case nameUpgrade:
		if request && f.x.Request.Upgrade && f.x.Request.Version < exchange.HTTP20 ||
			f.kind == mapResponseHeaders && f.status == 101 {
			return valueWebSocket, true
		}
	case nameLength:
		if f.length >= 0 {
			return strconv.AppendInt(f.lent, f.length, 10), true
		}
	}
	return nil, false
}

var (
	valueTrailers  = []byte("trailers")
	valueWebSocket = []byte("websocket")
	schemeHTTP     = []byte("http")
	schemeHTTPS    = []byte("https")
	noteScheme     = []byte(nameScheme) // under which the scheme that a filter has set is kept
)

// scheme is the request's as filters see it: the client's, unless one has set another.
func scheme(x *exchange.Exchange) []byte {
	if v, ok := x.Notes.Get(noteScheme); ok {
		return v
	}
	if x.Client.Secure {
		return schemeHTTPS
	}
	return schemeHTTP
}

// sized is the length of the body that a half has under way, as it came; −1 if it is not known, or is not said.
func (h *half) sized() int64 {
	x, body := h.st.x, h.message()
	r := &x.Response
	switch {
	case !h.response && x.Uploading.Load() && h.st.sh.entered != h && !h.parked:
		return -1 // somebody else is at it
	case h.response && (r.Status < 200 || r.Status == 204):
		return -1
	case h.response && !r.Local && (r.Status == 304 || string(h.st.verb()) == "HEAD"):
		return r.Declared
	case body.Length < 0 && h.under.Length > 0:
		return h.under.Length
	case !h.response && body.Length == 0 && !wire.SendsLength(h.st.verb()):
		return -1
	}
	return body.Length
}

// known reports whether a field of a section is one that guests see: what frames a message, or belongs to a hop, they see as
// extra does, if at all.
func known(fd *exchange.Field) bool {
	return fd.ID == exchange.Other || fd.ID != exchange.Host && !abi.Framing(fd.ID)
}

// count is the number of pairs of a map, those of its pseudo fields among them.
func (f *fields) count() int {
	n, _ := f.measure()
	return n
}

// measure gives the number of pairs and the bytes of their names and values.
func (f *fields) measure() (n, size int) {
	if f.h == nil {
		return 0, 0
	}
	for _, list := range [...][]string{f.before(), behind[:]} {
		for _, name := range list {
			if value, ok := f.extra(name); ok {
				n++
				size += len(name) + len(value)
			}
		}
	}
	for i := range f.h.Len() {
		if fd := f.h.At(i); known(fd) {
			n++
			size += len(fd.Name) + len(fd.Value)
		}
	}
	return n, size
}

// get finds the first value under a lower-case name, a view until the map changes or another number is asked for.
func (f *fields) get(name string) (value []byte, ok bool) {
	if f.h == nil {
		return nil, false
	}
	if value, ok = f.extra(name); ok {
		return value, true
	}
	for i := range f.h.Len() {
		if fd := f.h.At(i); exchange.EqualFold(fd.Name, name) && known(fd) {
			return fd.Value, true
		}
	}
	return nil, false
}

// has reports whether a section has one field of a lower-case name, which is value already.
func (f *fields) has(name string, value []byte) bool {
	i := f.h.Index(name, 0)
	return i >= 0 && bytes.Equal(f.h.At(i).Value, value) && f.h.Index(name, i+1) < 0
}
