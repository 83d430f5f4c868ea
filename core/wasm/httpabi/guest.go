package httpabi

import (
	"errors"
	"io"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
)

// guest is what the host keeps of one instance: where to call it, and while it serves an exchange all that belongs to
// that. It is also the filter's exchange.State. One goroutine at a time, as the instance.
type guest struct {
	f        *Filter
	in       *wasm.Instance
	request  *wasm.Func
	response *wasm.Func
	always   uint32 // features enabled at start
	stack    [2]uint64

	visit

	scratch []byte  // a name in lower case
	order   []int32 // fields in the order of their names
}

// visit is one exchange's use of a guest. Its buffers are used again.
type visit struct {
	x        *exchange.Exchange
	features uint32
	next     bool   // handle_request has let the request through
	frozen   bool   // changes have no effect: the answer is lost or another's
	trial    bool   // decides whether a filter that was backed off comes back
	reqCtx   uint32 // given back to handle_response
	cpu      time.Duration
	written  int // bytes of fields and targets set so far
	lines    int // of the log

	method  []byte // the client's, if the guest set another
	err     error  // why the exchange fails once the guest has returned
	stage   body   // the request's body
	answer  body   // the response's
	presets []preset
	bytes   []byte // names and values of presets
}

// preset is a field of the answer that was set before there was one.
type preset struct {
	name, value int // lengths
	trailer     bool
}

// body is a body as a guest reads and writes it.
type body struct {
	rest   []byte // pulled, and not read by the guest yet; a view
	kept   []byte // pulled, and still to be seen by the other side
	out    []byte // written by the guest in its place
	wrote  bool
	loose  int64 // bytes that the guest read and nobody else will
	pulled bool
	ended  bool
	trails bool // the guest set trailer fields
}

// reset keeps buffers and nothing else.
func (v *visit) reset() {
	*v = visit{
		stage:  body{kept: keepSmall(v.stage.kept), out: keepSmall(v.stage.out)},
		answer: body{out: keepSmall(v.answer.out)},
		method: v.method[:0], presets: v.presets[:0], bytes: keepSmall(v.bytes),
	}
}

func keepSmall(b []byte) []byte {
	if cap(b) > pool.Large {
		return nil
	}
	return b[:0]
}

// begin makes x the exchange that the guest serves.
func (g *guest) begin(x *exchange.Exchange) {
	g.x, g.features, g.cpu = x, g.always, g.in.CPU()
}

// budget is what a call may still spend.
func (g *guest) budget() time.Duration {
	return min(g.f.o.CPU, g.f.o.CPUTotal-(g.in.CPU()-g.cpu))
}

// callRequest calls handle_request and reports whether the request goes on.
func (g *guest) callRequest(budget time.Duration) (next bool, err error) {
	g.stack[0] = 0
	before := g.in.CPU()
	err = g.in.Call(g.request, budget, g.stack[:1])
	g.f.Observe(abi.PhaseHandleRequest, g.in.CPU()-before)
	if err != nil {
		return false, err
	}
	// The low half decides, whatever it is but 0.
	g.next, g.reqCtx = uint32(g.stack[0]) != 0, uint32(g.stack[0]>>32)
	return g.next, nil
}

func (g *guest) callResponse(budget time.Duration, failed bool) error {
	if budget <= 0 {
		return wasm.ErrBudget
	}
	g.stack[0], g.stack[1] = uint64(g.reqCtx), 0
	if failed {
		g.stack[1] = 1
	}
	before := g.in.CPU()
	err := g.in.Call(g.response, budget, g.stack[:2])
	g.f.Observe(abi.PhaseHandleResponse, g.in.CPU()-before)
	return err
}

// passOn makes the request's body what the guest left of it, and its length what that has come to.
func (g *guest) passOn() {
	s, r := &g.stage, &g.x.Request
	b := &r.Body
	switch {
	case s.wrote:
		if !b.Empty() && b.Whole() {
			drain(b) // what lies at hand is taken off the connection, so that it can be used again
		}
		b.Replace(s.out)
	case s.pulled:
		known := s.ended || b.Empty() && len(s.rest) == 0
		if len(s.kept) > 0 {
			b.Unread(s.kept)
		} else {
			b.Unread(s.rest)
		}
		switch {
		case b.Length >= 0:
			b.Length -= s.loose
		case known && (r.Trailer.Len() == 0 || b.Empty()):
			b.Length = int64(len(s.kept))
		}
	}
	if s.trails && !b.Empty() {
		b.Length = -1
	}
}

// drain takes what is left of a body that lies in memory.
func drain(b *exchange.Body) {
	buf := pool.Acquire(pool.Small)
	for {
		if _, err := b.Next(buf); err != nil {
			break
		}
	}
	pool.Release(buf)
}

// restore gives back what a failed guest has read. What it alone has read is lost: then the request can't be sent.
func (g *guest) restore() {
	s, b := &g.stage, &g.x.Request.Body
	if s.loose > 0 {
		b.Fail(errConsumed)
		return
	}
	if len(s.kept) > 0 {
		b.Unread(s.kept)
	}
}

// restoreMethod puts the client's method back: it frames the answer on the client's side.
func (g *guest) restoreMethod() {
	if len(g.method) == 0 {
		return
	}
	x := g.x
	if string(g.method) == "HEAD" && !x.Response.Local {
		x.Response.Body.Replace(nil)
	}
	x.Request.Method = x.Request.Header.Keep(g.method)
}

// setAside takes the answer's fields that the guest has set early out of the exchange, whose response will be the
// upstream's.
func (g *guest) setAside() {
	r := &g.x.Response
	if r.Header.Len() == 0 && r.Trailer.Len() == 0 && r.Status == 0 {
		return
	}
	g.keepFields(&r.Header, false)
	g.keepFields(&r.Trailer, true)
	g.x.ClearResponse()
}

func (g *guest) keepFields(h *exchange.Header, trailer bool) {
	for i := range h.Len() {
		f := h.At(i)
		g.bytes = append(append(g.bytes, f.Name...), f.Value...)
		g.presets = append(g.presets, preset{len(f.Name), len(f.Value), trailer})
	}
}

// preset puts what was set early into an answer that does not say otherwise itself.
func (g *guest) preset() {
	r := &g.x.Response
	n, from := r.Header.Len(), 0
	for _, p := range g.presets {
		name := g.bytes[from : from+p.name]
		value := g.bytes[from+p.name : from+p.name+p.value]
		from += p.name + p.value
		if p.trailer {
			r.Trailer.Add(name, value)
			continue
		}
		if i := r.Header.Index(g.lower(name), 0); i < 0 || i >= n {
			r.Header.Add(name, value)
		}
	}
	if g.answer.wrote && r.Body.Empty() && !r.Local && mayHaveBody(r.Status) && string(g.x.Request.Method) != "HEAD" {
		r.Body.Replace(g.answer.out)
	}
	g.answer = body{out: g.answer.out[:0], trails: g.answer.trails}
}

// frame makes the answer one that can carry the trailer fields the guest has set.
func (g *guest) frame() {
	if x := g.x; g.answer.trails && x.Request.Trailers && mayHaveBody(x.Response.Status) {
		x.Response.Body.Length = -1
	}
}

func mayHaveBody(status int) bool { return status >= 200 && status != 204 && status != 304 }

// lower gives a name in lower case, valid until the next call or until the name's memory changes.
func (g *guest) lower(name []byte) string {
	for i, c := range name {
		if c-'A' < 26 {
			g.scratch = append(g.scratch[:0], name...)
			for ; i < len(name); i++ {
				g.scratch[i] = abi.LowerByte(name[i])
			}
			return abi.ViewString(g.scratch)
		}
	}
	return abi.ViewString(name)
}

// Release ends an exchange that came to no answer: the guest may still free what it keeps of it.
func (g *guest) Release(*exchange.Exchange) {
	if !g.next {
		// Not even the request's call has returned.
		g.f.done(g, errors.New("abandoned in a call"))
		return
	}
	g.frozen = true
	g.f.done(g, g.callResponse(g.budget(), true))
}

// pull reads bytes of the request's body into dst.
func (g *guest) pull(dst []byte) (p []byte, ok bool) {
	s, b := &g.stage, &g.x.Request.Body
	if s.ended {
		return nil, false
	}
	s.pulled = true
	waits := !b.Whole()
	if waits {
		g.in.Pause()
	}
	p, err := b.Next(dst)
	if waits {
		g.in.Resume()
	}
	if err != nil {
		s.ended = true
		if err != io.EOF {
			g.fail(err)
		}
		return nil, false
	}
	if g.features&featureBufferRequest != 0 {
		s.kept = append(s.kept, p...)
		if len(s.kept) > g.f.o.BodyLimit {
			s.ended = true
			g.fail(errRequestLimit)
			return nil, false
		}
	}
	return p, true
}

// fail makes err what the exchange ends with.
func (g *guest) fail(err error) {
	if cause := g.x.Cause(); cause != nil {
		err = cause
	}
	if g.err == nil {
		g.err = err
	}
}

var (
	errRequestLimit  = fault.New(fault.GuestFailed, "request body larger than the filter's body_limit")
	errResponseLimit = fault.New(fault.GuestFailed, "response body larger than the filter's body_limit")
	errConsumed      = fault.New(fault.GuestFailed, "a filter failed after it had read from the request body")
)
