package httpabi

import (
	"context"

	"github.com/tetratelabs/wazero/api"
)

// readBody fills the guest's buffer as far as the body goes.
func readBody(ctx context.Context, _ api.Module, s []uint64) {
	g := visiting(ctx)
	if uint32(s[2]) == 0 {
		panic(errNoRoom)
	}
	dst := g.read(s[1], s[2])
	var n int
	var eof bool
	switch uint32(s[0]) {
	case requestBody:
		g.beforeNext()
		n, eof = g.readRequest(dst)
	case responseBody:
		if g.next && g.features&featureBufferResponse == 0 {
			panic(errUnbuffered)
		}
		// The answer of a guest's own is not read back.
		n = copy(dst, g.answer.rest)
		g.answer.rest = g.answer.rest[n:]
		eof = len(g.answer.rest) == 0
	default:
		panic(errKind)
	}
	s[0] = uint64(n)
	if eof {
		s[0] |= 1 << 32
	}
}

func (g *guest) readRequest(dst []byte) (n int, eof bool) {
	s := &g.stage
	for n < len(dst) {
		p := s.rest
		if len(p) == 0 {
			var ok bool
			if p, ok = g.pull(dst[n:]); !ok {
				return n, true
			}
		}
		m := copy(dst[n:], p)
		s.rest = p[m:]
		n += m
		if g.features&featureBufferRequest == 0 {
			s.loose += int64(m)
		}
	}
	return n, len(s.rest) == 0 && g.x.Request.Body.Empty()
}

// writeBody replaces a body: the first call drops what was there, later ones append.
func writeBody(ctx context.Context, _ api.Module, s []uint64) {
	g := visiting(ctx)
	var b *body
	switch uint32(s[0]) {
	case requestBody:
		g.beforeNext()
		b = &g.stage
	case responseBody:
		if g.next && g.features&featureBufferResponse == 0 {
			panic(errUnbuffered)
		}
		b = &g.answer
	default:
		panic(errKind)
	}
	p := g.read(s[1], s[2])
	if g.frozen {
		return
	}
	b.wrote = true
	if len(b.out)+len(p) > g.f.o.BodyLimit {
		// No trap: any client could have it so, with a body just small enough before the guest puts something to it.
		limit := errResponseLimit
		if b == &g.stage {
			limit = errRequestLimit
		}
		g.fail(limit)
		return
	}
	b.out = append(b.out, p...)
}
