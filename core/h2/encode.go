package h2

import (
	"bytes"
	"hash/maphash"
	"strings"
	"unsafe"

	"golang.org/x/net/http2/hpack"

	"github.com/weirproxy/weir/core/exchange"
)

// encoder writes header blocks. It puts into the shared table only what has come twice of late: what is different in every
// message would push the rest out, and the table keeps strings, which cost an allocation each.
type encoder struct {
	hp     *hpack.Encoder
	block  []byte // of the message under way
	lower  []byte
	digits []byte
	wary   bool       // messages of many senders: only fields that tell nothing of them are kept (RFC 7541 §7.1)
	seen   [32]uint64 // hashes of fields that have come once
	kept   [32]struct {
		hash  uint64
		field hpack.HeaderField
	}
}

var seed = maphash.MakeSeed()

func (e *encoder) init(wary bool) {
	e.hp = hpack.NewEncoder(e)
	e.wary = wary
}

// Write is the hpack.Encoder's way to block.
func (e *encoder) Write(p []byte) (int, error) {
	e.block = append(e.block, p...)
	return len(p), nil
}

// begin forgets the message before.
func (e *encoder) begin() {
	if cap(e.block) > 16<<10 {
		e.block = nil
	}
	e.block = e.block[:0]
}

// static writes a field that stands in the static table with its value.
func (e *encoder) static(name, value string) {
	_ = e.hp.WriteField(hpack.HeaderField{Name: name, Value: value})
}

// field writes a field; name is lower-case.
func (e *encoder) field(name, value []byte, id exchange.ID) {
	f := hpack.HeaderField{Name: view(name), Value: view(value), Sensitive: true}
	if len(name)+len(value) <= 512 && e.may(name, id) {
		e.repeated(&f)
	}
	_ = e.hp.WriteField(f)
}

// repeated makes f one that the table may keep if it has been seen before. A field that comes once takes no place from one
// that comes always.
func (e *encoder) repeated(f *hpack.HeaderField) {
	hash := maphash.String(seed, f.Value) ^ maphash.String(seed, f.Name)*31
	k := &e.kept[hash%uint64(len(e.kept))]
	if k.hash != hash || k.field.Name != f.Name || k.field.Value != f.Value {
		if s := &e.seen[hash%uint64(len(e.seen))]; *s != hash {
			*s = hash
			return
		}
		k.hash, k.field = hash, hpack.HeaderField{Name: strings.Clone(f.Name), Value: strings.Clone(f.Value)}
	}
	*f = k.field
}

// may reports whether a field may be kept at all.
func (e *encoder) may(name []byte, id exchange.ID) bool {
	switch id {
	case exchange.Authorization, exchange.Cookie, exchange.SetCookie, exchange.ProxyAuthorization, exchange.XRequestID:
		return false
	case exchange.Accept, exchange.ContentType, exchange.UserAgent, exchange.Via, exchange.XForwardedProto, exchange.XForwardedHost, exchange.TE:
		return true
	}
	if !e.wary {
		return true
	}
	switch string(name) {
	case ":authority", ":scheme", ":method", "accept-encoding", "accept-language", "grpc-accept-encoding", "grpc-encoding":
		return true
	}
	return false
}

// header writes the fields of h that may go over HTTP/2: what frames the message or ends at this hop is not taken from
// there, and what is no name or value is left out.
func (e *encoder) header(h *exchange.Header) {
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != exchange.Other && (f.ID.HopByHop() || f.ID == exchange.Host) {
			continue
		}
		if name, ok := e.name(f.Name); ok && exchange.CleanValue(f.Value) {
			e.field(name, bytes.Trim(f.Value, " \t"), f.ID)
		}
	}
}

// name brings a field name into lower case, a view until the next call; false if it is none.
func (e *encoder) name(name []byte) ([]byte, bool) {
	plain := true
	for _, c := range name {
		if !nameByte[c] {
			if c-'A' >= 26 {
				return nil, false
			}
			plain = false
		}
	}
	if plain {
		return name, len(name) > 0
	}
	e.lower = append(e.lower[:0], name...)
	for i, c := range e.lower {
		if c-'A' < 26 {
			e.lower[i] = c | 0x20
		}
	}
	return e.lower, true
}

// view sees bytes as a string, for as long as nobody writes them.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
