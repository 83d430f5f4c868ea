package httpabi

import (
	"context"

	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wire"
)

var hostName = []byte("host")

// section finds a header section to read. Request trailers are not to be had while another goroutine reads them.
func (g *guest) section(kind uint64) *exchange.Header {
	switch uint32(kind) {
	case requestHeader:
		return &g.x.Request.Header
	case responseHeader:
		return &g.x.Response.Header
	case requestTrailer:
		if g.x.Uploading.Load() {
			return &noFields
		}
		return &g.x.Request.Trailer
	case responseTrailer:
		return &g.x.Response.Trailer
	}
	panic(errKind)
}

// noFields is read only.
var noFields exchange.Header

// changeable is section for a change.
func (g *guest) changeable(kind uint64) *exchange.Header {
	if k := uint32(kind); k == requestHeader || k == requestTrailer {
		g.beforeNext()
	}
	return g.section(kind)
}

// host is the request's authority if kind is the section it is part of and there is one.
func (g *guest) host(kind uint64) []byte {
	if uint32(kind) != requestHeader {
		return nil
	}
	return g.x.Request.Host
}

// getHeaderNames lists every name once, in lower case and sorted.
func getHeaderNames(ctx context.Context, _ api.Module, s []uint64) {
	g := visiting(ctx)
	h := g.section(s[0])
	host := g.host(s[0])
	g.order = g.order[:0]
	size := 0
	if len(host) > 0 {
		g.order = append(g.order, -1)
		size = len(hostName) + 1
	}
	for i := range h.Len() {
		name := h.At(i).Name
		if at, ok := g.place(h, name); !ok {
			g.order = append(g.order, 0)
			copy(g.order[at+1:], g.order[at:])
			g.order[at] = int32(i)
			size += len(name) + 1
		}
	}
	s[0] = uint64(len(g.order))<<32 | uint64(size)
	if size == 0 || size > int(uint32(s[2])) {
		return
	}
	out := g.read(s[1], uint64(size))
	for _, i := range g.order {
		name := g.nameAt(h, i)
		for j, c := range name {
			out[j] = abi.LowerByte(c)
		}
		out[len(name)] = 0
		out = out[len(name)+1:]
	}
}

func (g *guest) nameAt(h *exchange.Header, i int32) []byte {
	if i < 0 {
		return hostName
	}
	return h.At(int(i)).Name
}

// place finds where a name belongs in g.order, and whether it is there.
func (g *guest) place(h *exchange.Header, name []byte) (at int, found bool) {
	low, high := 0, len(g.order)
	for low < high {
		mid := int(uint(low+high) >> 1)
		switch c := abi.FoldCompare(g.nameAt(h, g.order[mid]), name); {
		case c == 0:
			return mid, true
		case c < 0:
			low = mid + 1
		default:
			high = mid
		}
	}
	return low, false
}

func getHeaderValues(ctx context.Context, _ api.Module, s []uint64) {
	g := visiting(ctx)
	h := g.section(s[0])
	name := g.read(s[1], s[2])
	if len(name) == 0 {
		panic(errEmptyName)
	}
	lower := g.lower(name)
	ptr, limit := s[3], int(uint32(s[4]))
	if host := g.host(s[0]); lower == "host" && uint32(s[0]) == requestHeader {
		s[0] = 0
		if len(host) > 0 {
			s[0] = 1<<32 | uint64(len(host)+1)
		}
		if n := len(host) + 1; n > 1 && n <= limit {
			out := g.read(ptr, uint64(n))
			out[copy(out, host)] = 0
		}
		return
	}
	count, size := 0, 0
	first := h.Index(lower, 0)
	for i := first; i >= 0; i = h.Index(lower, i+1) {
		count++
		size += len(h.At(i).Value) + 1
	}
	s[0] = uint64(count)<<32 | uint64(size)
	if count == 0 || size > limit {
		return
	}
	out := g.read(ptr, uint64(size))
	if count == 1 {
		out[copy(out, h.At(first).Value)] = 0
		return
	}
	// The buffer may lie over the name.
	g.scratch = append(g.scratch[:0], lower...)
	lower = abi.ViewString(g.scratch)
	for i := first; i >= 0; i = h.Index(lower, i+1) {
		n := copy(out, h.At(i).Value)
		out[n] = 0
		out = out[n+1:]
	}
}

func setHeaderValue(ctx context.Context, _ api.Module, s []uint64) { visiting(ctx).change(s, false) }

func addHeaderValue(ctx context.Context, _ api.Module, s []uint64) { visiting(ctx).change(s, true) }

// change sets or adds a field. Names and values that a client could not have sent trap. Fields that frame a message or
// belong to one hop are passed over without a word: filters written for other hosts set Content-Length after they have
// replaced a body, and here that has been seen to.
func (g *guest) change(s []uint64, add bool) {
	h := g.changeable(s[0])
	name := g.read(s[1], s[2])
	if len(name) == 0 {
		panic(errEmptyName)
	}
	if !abi.Token(name) {
		panic(errName)
	}
	value := abi.Trim(g.read(s[3], s[4]))
	if !exchange.CleanValue(value) {
		panic(errValue)
	}
	g.charge(len(name) + len(value))
	kind, id := uint32(s[0]), exchange.Identify(name)
	switch {
	case kind == requestHeader && id == exchange.Host:
		if !wire.ValidHost(value) {
			panic(errHost)
		}
		g.x.Request.Host = h.Keep(value)
		return
	case g.frozen, abi.Framing(id), kind > responseHeader && !abi.MayTrail(name, id):
		return
	}
	switch kind {
	case requestTrailer:
		g.stage.trails = true
	case responseTrailer:
		g.answer.trails = true
	}
	if !add {
		lower := g.lower(name)
		if i := h.Index(lower, 0); i >= 0 {
			if h.Index(lower, i+1) < 0 {
				h.At(i).Value = h.Keep(value)
				return
			}
			h.Set(lower, value)
			return
		}
	}
	if h.Len() >= maxFields {
		panic(errTooMuch)
	}
	h.Add(name, value)
}

func removeHeader(ctx context.Context, _ api.Module, s []uint64) {
	g := visiting(ctx)
	h := g.changeable(s[0])
	name := g.read(s[1], s[2])
	if len(name) == 0 {
		panic(errEmptyName)
	}
	if !g.frozen {
		h.Del(abi.ViewString(name))
	}
}
