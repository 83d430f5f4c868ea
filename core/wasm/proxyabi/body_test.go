package proxyabi

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// onBody gives the same callback for both directions: kind is the buffer's.
func onBody(p *program, code func(kind int32) []byte) *program {
	return p.on("proxy_on_request_body", code(bufferRequestBody)).on("proxy_on_response_body", code(bufferResponseBody))
}

// ends answers then at the end of the stream and other before.
func ends(then, other []byte) []byte { return asm.Cat(asm.Get(2), asm.IfElse(asm.I32, then, other)) }

// set puts a text into a buffer in the place of [start, start+size).
func (p *program) set(kind, start, size int32, s string) []byte {
	return p.host("proxy_set_buffer_bytes", num(kind), num(start), num(size), p.text(s))
}

// Bodies go by, in both directions, whatever their framing: what comes out, the length that the head says, and what happens
// when they are larger than the guest may hold back.
func TestBodies(t *testing.T) {
	const all = 1 << 30
	cases := []struct {
		name   string
		code   func(p *program) func(kind int32) []byte
		length int64 // −1: none is said
		pieces []string
		want   string
		says   int64
		err    fault.Kind
	}{
		{name: "unseen", pieces: []string{"hello"}, length: 5, want: "hello", says: 5},
		{name: "nothing", want: "", says: 0},
		{name: "unchanged", code: func(p *program) func(int32) []byte { return func(int32) []byte { return num(0) } },
			pieces: []string{"hel", "lo"}, length: 5, want: "hello", says: 5},
		{name: "unchanged, no length", code: func(p *program) func(int32) []byte { return func(int32) []byte { return num(0) } },
			pieces: []string{"hel", "lo"}, length: -1, want: "hello", says: -1},
		{name: "replaced at the end", code: func(p *program) func(int32) []byte {
			return func(k int32) []byte { return ends(asm.Cat(p.set(k, 0, all, "changed"), num(0)), num(1)) }
		}, pieces: []string{"hel", "lo"}, length: 5, want: "changed", says: 7},
		{name: "replaced at the end, no length", code: func(p *program) func(int32) []byte {
			return func(k int32) []byte { return ends(asm.Cat(p.set(k, 0, all, "changed"), num(0)), num(1)) }
		}, pieces: []string{"hel", "lo"}, length: -1, want: "changed", says: -1},
		{name: "put before and after", code: func(p *program) func(int32) []byte {
			return func(k int32) []byte {
				return ends(asm.Cat(p.set(k, 0, 0, "<"), p.set(k, all, 0, ">"), num(0)), num(1))
			}
		}, pieces: []string{"hel", "lo"}, length: 5, want: "<hello>", says: 7},
		{name: "spliced", code: func(p *program) func(int32) []byte {
			return func(k int32) []byte { return ends(asm.Cat(p.set(k, 1, 3, "ipp"), num(0)), num(1)) }
		}, pieces: []string{"hel", "lo"}, length: 5, want: "hippo", says: 5},
		{name: "emptied", code: func(p *program) func(int32) []byte {
			return func(k int32) []byte { return ends(asm.Cat(p.set(k, 0, all, ""), num(0)), num(1)) }
		}, pieces: []string{"hel", "lo"}, length: 5, want: "", says: 0},
		{name: "every piece grows", code: func(p *program) func(int32) []byte {
			return func(k int32) []byte {
				return asm.Cat(asm.Get(1), asm.If(asm.None, p.set(k, all, 0, "!")), num(0))
			}
		}, pieces: []string{"hel", "lo"}, length: 5, want: "hel!lo!", says: -1},
		{name: "later pieces grow", code: func(p *program) func(int32) []byte {
			return func(k int32) []byte {
				return ends(num(0), asm.Cat(asm.Get(1), num(2), asm.LtU32, asm.If(asm.None, p.set(k, all, 0, "!")), num(0)))
			}
		}, pieces: []string{"hello", "x", "y"}, length: 7, says: 7, want: "hello", err: fault.GuestFailed},
		{name: "pieces are taken", code: func(p *program) func(int32) []byte {
			return func(k int32) []byte { return ends(num(0), num(3)) }
		}, pieces: []string{"hel", "lo"}, length: -1, want: "", says: -1},
		{name: "pieces are taken by an action beyond the last", code: func(p *program) func(int32) []byte {
			return func(k int32) []byte { return ends(num(0), num(9)) }
		}, pieces: []string{"hel", "lo"}, length: -1, want: "", says: -1},
		{name: "too large", code: func(p *program) func(int32) []byte { return func(int32) []byte { return num(1) } },
			pieces: []string{strings.Repeat("a", 1500), strings.Repeat("b", 600)}, length: -1, says: -1, err: fault.BodyTooLarge},
		{name: "made too large", code: func(p *program) func(int32) []byte {
			return func(k int32) []byte { return ends(asm.Cat(p.set(k, 0, 0, strings.Repeat("+", 600)), num(0)), num(1)) }
		}, pieces: []string{strings.Repeat("a", 1000), strings.Repeat("b", 600)}, length: -1, says: -1, err: fault.BodyTooLarge},
		{name: "let go while held back", code: func(p *program) func(int32) []byte {
			return func(k int32) []byte { return asm.Cat(p.host("proxy_continue_stream", num(k)), num(1)) }
		}, pieces: []string{"hel", "lo"}, length: 5, want: "hello", says: 5},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := newProgram()
			if c.code == nil {
				p.without("proxy_on_request_body", "proxy_on_response_body", "proxy_on_request_trailers", "proxy_on_response_trailers")
			} else {
				onBody(p, c.code(p))
			}
			vm, pl := open(t, p, Options{BodyLimit: 2000}, PluginOptions{})
			f := at(t, pl, Site{})
			defer func() {
				if n := vm.failures.Count(abi.FailedTrap); n != 0 {
					t.Errorf("%d instances died", n)
				}
			}()
			check := func(b *exchange.Body, says, length int64, limit fault.Kind) {
				t.Helper()
				kind := c.err
				if kind == fault.BodyTooLarge {
					kind = limit
				}
				if b.Length != says {
					t.Errorf("the head says %d, want %d", b.Length, says)
				}
				got, err := pull(b)
				if got != c.want || fault.KindOf(err) != kind {
					t.Errorf("%q %v, want %q %v", got, err, c.want, kind)
				}
			}
			x := ask(t, c.length, append([]string(nil), c.pieces...)...)
			defer exchange.Release(x)
			request(t, f, x, filter.Continue)
			check(&x.Request.Body, c.says, c.length, fault.BodyTooLarge)
			answer(x, c.length, append([]string(nil), c.pieces...)...)
			response(t, f, x, filter.Continue)
			check(&x.Response.Body, c.says, c.length, fault.FilterLimit)
		})
	}
}

// A body that can't be had ends with why, and the guest dies of nothing.
func TestBodyBroken(t *testing.T) {
	vm, pl := open(t, onBody(newProgram(), func(int32) []byte { return num(1) }), Options{}, PluginOptions{})
	f := at(t, pl, Site{})
	x := ask(t, -1, "x")
	x.Request.Body.Init(-1, &chunks{list: []string{"hel"}, err: fault.New(fault.ClientGone, "gone")})
	request(t, f, x, filter.Continue)
	if _, err := pull(&x.Request.Body); fault.KindOf(err) != fault.ClientGone {
		t.Error(err)
	}
	exchange.Release(x)
	x = ask(t, 10, "x")
	x.Request.Body.Init(10, &chunks{list: []string{"hel"}, err: fault.New(fault.BodyTruncated, "cut")})
	if v, err := f.Request(x, 0); v != filter.Continue || fault.KindOf(err) != fault.BodyTruncated {
		t.Error(v, err)
	}
	exchange.Release(x)
	if s := pl.Status(); len(s.Failures) != 0 || vm.breaker.Open() {
		t.Errorf("%+v", s)
	}
}

// A guest that dies while a body passes: its stream ends, or goes on without it, and nothing of the body is lost or doubled.
func TestBodyTrapped(t *testing.T) {
	for _, open1 := range []bool{false, true} {
		for dies := range 3 {
			t.Run(fmt.Sprintf("open %v, at piece %d", open1, dies), func(t *testing.T) {
				p := newProgram()
				n := p.m.Global(asm.I32, true, num(0))
				onBody(p, func(k int32) []byte {
					return asm.Cat(asm.GlobalGet(n), num(int32(dies)), asm.Sub32, asm.Eqz32, asm.If(asm.None, asm.Unreachable),
						asm.GlobalGet(n), num(1), asm.Add32, asm.GlobalSet(n), p.set(k, 0, 0, "+"), ends(num(0), num(1)))
				})
				vm, pl := open(t, p, Options{}, PluginOptions{})
				f := at(t, pl, Site{FailOpen: open1})
				x := ask(t, -1, "one", "two", "three")
				defer exchange.Release(x)
				request(t, f, x, filter.Continue)
				got, err := pull(&x.Request.Body)
				want := strings.Repeat("+", dies) + "onetwothree"
				if !open1 {
					want = ""
				}
				if got != want || (err == nil) != open1 || !open1 && fault.KindOf(err) != fault.GuestFailed {
					t.Errorf("%q %v", got, err)
				}
				if vm.failures.Count(abi.FailedTrap) != 1 {
					t.Errorf("%+v", pl.Status())
				}
			})
		}
	}
}

// A guest answers from within a body: the body ends with that, and what the guest said is the answer.
func TestBodyAnswered(t *testing.T) {
	p := newProgram()
	onBody(p, func(int32) []byte {
		return asm.Cat(p.host("proxy_send_local_response", num(403), p.text("why"), p.text("no"), p.text("\x01\x00\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00x-a\x00b\x00"), num(-1)), num(0))
	})
	_, pl := open(t, p, Options{}, PluginOptions{})
	f := at(t, pl, Site{})
	check := func(x *exchange.Exchange, err error) {
		t.Helper()
		var a *filter.Answer
		if !errors.As(err, &a) || fault.KindOf(err) != fault.FilterAnswered {
			t.Fatal(err)
		}
		a.Make(x)
		r := &x.Response
		if r.Status != 403 || string(r.Header.Get("x-a")) != "b" || string(r.Header.Get("content-type")) != "text/plain" || x.Record.Reason != "why" {
			t.Errorf("%+v", r)
		}
		if got, err := pull(&r.Body); got != "no" || err != nil {
			t.Error(got, err)
		}
	}
	x := ask(t, -1, "hello")
	request(t, f, x, filter.Continue)
	_, err := pull(&x.Request.Body)
	check(x, err)
	exchange.Release(x)
	// With a length, the head has not gone on yet.
	x = ask(t, 5, "hello")
	request(t, f, x, filter.Reply)
	if x.Response.Status != 403 {
		t.Error(x.Response.Status)
	}
	exchange.Release(x)
	x = ask(t, 0)
	request(t, f, x, filter.Continue)
	answer(x, -1, "hello")
	response(t, f, x, filter.Continue)
	_, err = pull(&x.Response.Body)
	check(x, err)
	exchange.Release(x)
}

// StopIteration of a header phase: by default the body waits, too; by option the guest sees the body first.
func TestStopIteration(t *testing.T) {
	for _, literal := range []bool{false, true} {
		p := newProgram()
		p.on("proxy_on_request_headers", num(1))
		p.on("proxy_on_request_body", ends(asm.Cat(p.set(0, 0, 1<<30, "seen"), num(0)), num(1)))
		_, pl := open(t, p, Options{}, PluginOptions{StopIteration: literal})
		f := at(t, pl, Site{})
		x := ask(t, -1, "a", "b")
		if !literal {
			go letGo(f, x)
		}
		request(t, f, x, filter.Continue)
		says := int64(-1)
		if literal {
			says = 4
		}
		if got, err := pull(&x.Request.Body); got != "seen" || err != nil || x.Request.Body.Length != says {
			t.Error(literal, got, err, x.Request.Body.Length)
		}
		exchange.Release(x)
	}
}

// letGo does what another callback of the shard may do: it resumes a request once it is parked.
func letGo(f *Filter, _ *exchange.Exchange) {
	for {
		for i := range f.p.vm.shards {
			sh := f.p.vm.shards[i].Load()
			sh.mu.Lock()
			let := false
			sh.scopes.each(func(s *scope) {
				if s.stream != nil && (s.stream.request.parked || s.stream.response.parked) {
					before := sh.eff
					sh.eff = s
					sh.proceed(streamRequest)
					sh.proceed(streamResponse)
					sh.eff = before
					sh.rouse() // as when a guest call returns
					let = true
				}
			})
			sh.mu.Unlock()
			if let {
				return
			}
		}
	}
}

// What has been let go of a body waits for its end, and is not touched by what the guest does with the end.
func TestBodyThatWaitsForItsEnd(t *testing.T) {
	for _, c := range []struct {
		name   string
		length int64
		extra  []byte
	}{{"sized", 5, nil}, {"not sized", -1, nil}} {
		t.Run(c.name, func(t *testing.T) {
			p := newProgram()
			// At the end, whatever is left of the body: a tail.
			p.on("proxy_on_request_body", asm.Get(2), asm.If(asm.None,
				p.host("proxy_set_buffer_bytes", num(bufferRequestBody), num(1<<20), num(0), p.text("-tail"))), num(0))
			_, pl := open(t, p, Options{}, PluginOptions{})
			f := at(t, pl, Site{})
			x := ask(t, c.length, "he", "llo")
			request(t, f, x, filter.Continue)
			got, err := pull(&x.Request.Body)
			if want := "hello-tail"; c.length < 0 && (got != want || err != nil) || c.length >= 0 && err == nil && got != want {
				t.Errorf("%q, %v", got, err)
			}
			if got != "hello-tail" && (err == nil || len(got) > 5 || got != "hello"[:len(got)]) {
				t.Errorf("%q, %v", got, err)
			}
			exchange.Release(x)
			x = ask(t, c.length, "hello")
			request(t, f, x, filter.Continue)
			if got, err := pull(&x.Request.Body); got != "hello-tail" || err != nil {
				t.Errorf("in one piece: %q, %v", got, err)
			}
			exchange.Release(x)
		})
	}
}

// A guest that changes the last of a body, and adds to it again with the trailer section.
func TestBodyChangedWithTrailers(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_request_body", p.host("proxy_set_buffer_bytes", num(bufferRequestBody), num(0), num(0), p.text("pre-")), num(0))
	p.on("proxy_on_request_trailers", p.host("proxy_set_buffer_bytes", num(bufferRequestBody), num(1<<20), num(0), p.text("-post")), num(0))
	_, pl := open(t, p, Options{}, PluginOptions{})
	f := at(t, pl, Site{})
	x := exchange.Acquire()
	defer exchange.Release(x)
	x.Request.Method, x.Request.Target, x.Request.Path, x.Request.Version = []byte("POST"), []byte("/a"), []byte("/a"), exchange.HTTP11
	x.Request.Body.Init(-1, &chunks{list: []string{"hello"}, last: func() {
		if x.Request.Trailer.Len() == 0 {
			x.Request.Trailer.AddString("x-sum", []byte("1"))
		}
	}})
	request(t, f, x, filter.Continue)
	if got, err := pull(&x.Request.Body); got != "pre-hello-post" && got != "pre-hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// A request's body that the guest holds back is waited for by nobody once its call is over: who sends it wakes, and does not
// have the exchange wait for pause to pass.
func TestHeldBodyIsGivenUp(t *testing.T) {
	p := newProgram()
	onBody(p, func(int32) []byte { return ends(num(1), num(1)) })
	vm, pl := open(t, p, Options{}, PluginOptions{})
	f := at(t, pl, Site{FailOpen: true})
	for _, early := range []bool{true, false} {
		x := ask(t, -1, "a", "b")
		request(t, f, x, filter.Continue)
		if early {
			x.AbortClientRead()
		}
		sent := make(chan error)
		go func() {
			_, err := pull(&x.Request.Body)
			sent <- err
		}()
		if !early {
			coretest.Eventually(t, "the body to be held", func() bool { return vm.paused.Load() == 1 })
			x.AbortClientRead()
		}
		if err := <-sent; err != netio.ErrAborted {
			t.Error(err)
		}
		answer(x, 0) // of the upstream, which did not wait for the body
		response(t, f, x, filter.Continue)
		exchange.Release(x)
	}
	if s := pl.Status(); len(s.Failures) != 0 {
		t.Errorf("%+v", s.Failures)
	}
}
