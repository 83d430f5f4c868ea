package httpabi

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/wasm/asm"
)

func enable(p *program, features int32) []byte {
	return asm.Cat(p.call("enable_features", num(features)), asm.Drop)
}

// readOnce reads up to n bytes of a body to the buffer and leaves how many on the stack.
func readOnce(p *program, kind, n int32) []byte {
	return asm.Cat(p.call("read_body", num(kind), num(buffer), num(n)), wrap)
}

// readAll reads a body to its end, in pieces of n bytes.
func readAll(p *program, kind, n int32) []byte {
	return asm.Loop(asm.None, p.call("read_body", num(kind), num(buffer), num(n)), upper, asm.Eqz32, asm.BrIf(0))
}

func TestReadRequest(t *testing.T) {
	// f reads with code and says what the upstream then sees, and by which length it is framed.
	f := func(name string, length int64, pieces []string, code func(p *program) []byte, want string, wantLength int64) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			flt := one(t, func(p *program) []byte { return asm.Cat(code(p), next) })
			x := ask(t, "POST", "/")
			withBody(x, length, io.EOF, pieces...)
			request(t, flt, x, filter.Continue)
			if x.Request.Body.Length != wantLength {
				t.Errorf("length %d, want %d", x.Request.Body.Length, wantLength)
			}
			if wantLength < 0 && x.Request.Body.Empty() {
				t.Error("an empty body can't be chunked")
			}
			eq(t, "body", content(t, &x.Request.Body), want)
			reply(x, 200, "")
			response(t, flt, x, false)
		})
	}
	ten := []string{"01234", "56", "789"}
	tee := func(n int32) func(*program) []byte {
		return func(p *program) []byte { return asm.Cat(enable(p, 1), readAll(p, 0, n)) }
	}
	f("not read", 10, ten, func(*program) []byte { return nil }, "0123456789", 10)
	// Read with buffering: the upstream sees all of it. Host-go forgets all but the last piece.
	f("tee all", 10, ten, tee(100), "0123456789", 10)
	f("tee all in small pieces", 10, ten, tee(3), "0123456789", 10)
	f("tee all, chunked", -1, ten, tee(4), "0123456789", 10)
	f("tee of nothing, chunked", -1, nil, tee(4), "", 0)
	f("tee a part", 10, ten, func(p *program) []byte { return asm.Cat(enable(p, 1), readOnce(p, 0, 3), asm.Drop) }, "0123456789", 10)
	f("tee a part, chunked", -1, ten, func(p *program) []byte { return asm.Cat(enable(p, 1), readOnce(p, 0, 6), asm.Drop) }, "0123456789", -1)
	// Read without buffering: what was read is gone, and the rest is framed as what it is.
	f("consume all", 10, ten, func(p *program) []byte { return readAll(p, 0, 100) }, "", 0)
	f("consume all, chunked", -1, ten, func(p *program) []byte { return readAll(p, 0, 100) }, "", 0)
	f("consume a part", 10, ten, func(p *program) []byte { return asm.Cat(readOnce(p, 0, 6), asm.Drop) }, "6789", 4)
	f("consume a part of a piece", 10, ten, func(p *program) []byte { return asm.Cat(readOnce(p, 0, 1), asm.Drop) }, "123456789", 9)
	f("consume a part, chunked", -1, ten, func(p *program) []byte { return asm.Cat(readOnce(p, 0, 6), asm.Drop) }, "6789", -1)
	f("buffer later", 10, []string{"0123456789"}, func(p *program) []byte {
		return asm.Cat(readOnce(p, 0, 2), asm.Drop, enable(p, 1), readOnce(p, 0, 3), asm.Drop)
	}, "23456789", 8)
	f("buffer later to the end, chunked", -1, []string{"0123456789"}, func(p *program) []byte {
		return asm.Cat(readOnce(p, 0, 2), asm.Drop, enable(p, 1), readAll(p, 0, 100))
	}, "23456789", 8)
	// Replaced: the length is the new one.
	write := func(p *program) []byte {
		return asm.Cat(p.call("write_body", num(0), p.text("new ")), p.call("write_body", num(0), p.text("body")))
	}
	f("replace", 10, ten, write, "new body", 8)
	f("replace after reading", 10, ten, func(p *program) []byte { return asm.Cat(readAll(p, 0, 4), write(p)) }, "new body", 8)
	f("replace chunked", -1, ten, write, "new body", 8)
	f("replace none", 0, nil, write, "new body", 8)
	f("replace by nothing", 10, ten, func(p *program) []byte { return p.call("write_body", num(0), num(0), num(0)) }, "", 0)
	f("trailers on a fixed body", 10, ten, func(p *program) []byte { return p.set(2, "x-sum", "1") }, "0123456789", -1)
	f("trailers on a new body", 10, ten, func(p *program) []byte { return asm.Cat(write(p), p.set(2, "x-sum", "1")) }, "new body", -1)
	f("trailers on no body", 0, nil, func(p *program) []byte { return p.set(2, "x-sum", "1") }, "", 0)
}

func TestReadEnd(t *testing.T) {
	f := func(n int32, want string) {
		t.Helper()
		flt := one(t, func(p *program) []byte {
			return asm.Cat(p.say(asm.Cat(p.call("read_body", num(0), num(buffer), num(n)), upper)), stop)
		})
		x := ask(t, "POST", "/")
		withBody(x, 4, io.EOF, "abcd")
		eq(t, "said", said(t, flt, x), want)
	}
	f(3, "")
	f(4, "") // whether more comes is not known without waiting
	f(5, "a")
}

// What lies at hand of a body that was replaced is taken off the connection.
func TestReplaceDrains(t *testing.T) {
	flt := one(t, func(p *program) []byte { return asm.Cat(p.call("write_body", num(0), p.text("x")), next) })
	x := ask(t, "POST", "/")
	s := &whole{source{pieces: []string{"abc", "def"}, end: io.EOF}}
	x.Request.Body.Init(6, s)
	request(t, flt, x, filter.Continue)
	if len(s.pieces) != 0 {
		t.Error("not drained")
	}
	reply(x, 200, "")
	response(t, flt, x, false)
}

type whole struct{ source }

func (*whole) Whole() bool { return true }

// What goes wrong on the client's side while a guest reads ends the exchange as the client's fault, and costs no instance.
func TestClientFaults(t *testing.T) {
	for _, passes := range []bool{false, true} {
		flt := one(t, func(p *program) []byte {
			end := stop
			if passes {
				end = next
			}
			return asm.Cat(enable(p, 1), readAll(p, 0, 100), end)
		})
		f := func(name string, want error, change func(x *exchange.Exchange)) {
			t.Helper()
			x := ask(t, "POST", "/")
			withBody(x, 10, fault.New(fault.ClientGone, "gone"), "012")
			change(x)
			_, err := flt.Request(x, 0)
			if err == nil || fault.KindOf(err) != fault.KindOf(want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
			if x.Slots[0] != nil || x.Response.Status != 0 {
				t.Error(name, "something is left")
			}
		}
		f("gone", fault.New(fault.ClientGone, ""), func(*exchange.Exchange) {})
		f("too large", fault.New(fault.BodyTooLarge, ""), func(x *exchange.Exchange) { x.Request.Body.Limit = 2 })
		f("cancelled", fault.New(fault.Draining, ""), func(x *exchange.Exchange) {
			withBody(x, 10, netio.ErrAborted, "012")
			x.Cancel(fault.New(fault.Draining, ""))
		})
		for range 2 * 5 {
			f("again", fault.New(fault.ClientGone, ""), func(*exchange.Exchange) {})
		}
		if s := flt.Stats(); s.Stock.Discards != 0 || s.Stopped || len(s.Errors) != 0 {
			t.Errorf("clients cost the filter: %+v", s)
		}
	}
}

func TestRequestLimit(t *testing.T) {
	flt := one(t, func(p *program) []byte { return asm.Cat(enable(p, 1), readAll(p, 0, 3), next) }, func(o *Options) { o.BodyLimit = 4 })
	x := ask(t, "POST", "/")
	withBody(x, 6, io.EOF, "012", "345")
	if _, err := flt.Request(x, 0); err != errRequestLimit {
		t.Fatal(err)
	}
	// Who skips the filter sends the whole body.
	eq(t, "body", content(t, &x.Request.Body), "012345")
	x = ask(t, "POST", "/")
	withBody(x, 4, io.EOF, "0123")
	request(t, flt, x, filter.Continue)
	reply(x, 200, "")
	response(t, flt, x, false)
	if s := flt.Stats(); s.Errors["body_limit"] != 1 || s.Stock.Discards != 0 {
		t.Errorf("%+v", s)
	}
}

// A guest that traps after it has read: who skips the filter sends the body if it was buffered, else nothing.
func TestTrapAfterRead(t *testing.T) {
	for features, want := range map[int32]error{0: errConsumed, 1: nil} {
		flt := one(t, func(p *program) []byte {
			return asm.Cat(enable(p, features), readOnce(p, 0, 2), asm.If(asm.None, asm.Unreachable), next)
		})
		x := ask(t, "POST", "/")
		withBody(x, 6, io.EOF, "012345")
		if _, err := flt.Request(x, 0); fault.KindOf(err) != fault.GuestFailed {
			t.Fatal(err)
		}
		_, err := x.Request.Body.Next(make([]byte, 10))
		if err != want {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

func buffering(response func(p *program) []byte) func(t *testing.T, change ...func(*Options)) *Filter {
	return func(t *testing.T, change ...func(*Options)) *Filter {
		return both(t, func(p *program) []byte { return asm.Cat(enable(p, 2), next) }, response, change...)
	}
}

func TestBufferResponse(t *testing.T) {
	f := func(name string, code func(p *program) []byte, want string, length int64) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			flt := buffering(code)(t)
			x := ask(t, "GET", "/")
			request(t, flt, x, filter.Continue)
			reply(x, 200, "0123456789", "x-a: 1")
			x.Response.Reason = []byte("OK")
			response(t, flt, x, false)
			eq(t, "body", content(t, &x.Response.Body), want)
			if x.Response.Body.Length != length {
				t.Error(x.Response.Body.Length)
			}
		})
	}
	f("untouched", nothing, "0123456789", 10)
	f("read", func(p *program) []byte { return readAll(p, 1, 3) }, "0123456789", 10)
	f("read a part", func(p *program) []byte { return asm.Cat(readOnce(p, 1, 3), asm.Drop) }, "0123456789", 10)
	f("replace", func(p *program) []byte { return p.call("write_body", num(1), p.text("new")) }, "new", 3)
	f("replace by nothing", func(p *program) []byte { return p.call("write_body", num(1), num(0), num(0)) }, "", 0)
	f("read and echo twice", func(p *program) []byte {
		return asm.Cat(p.say(readOnce(p, 1, 100)), p.say(num(10)))
	}, "01234567890123456789", 20)

	flt := buffering(func(p *program) []byte {
		return asm.Cat(p.call("set_status_code", num(404)), p.set(1, "x-a", "2"), p.set(3, "x-sum", "1"))
	})(t)
	x := ask(t, "GET", "/")
	x.Request.Trailers = true
	request(t, flt, x, filter.Continue)
	reply(x, 200, "abc", "x-a: 1")
	x.Response.Reason = []byte("OK")
	response(t, flt, x, false)
	if x.Response.Status != 404 || len(x.Response.Reason) != 0 || x.Response.Body.Length != -1 {
		t.Error(x.Response.Status, x.Response.Reason, x.Response.Body.Length)
	}
	eq(t, "fields", list(&x.Response.Header)+list(&x.Response.Trailer), "x-a: 2x-sum: 1")
}

func TestResponseLimit(t *testing.T) {
	told := func(p *program) []byte {
		// Called with isError and an empty body; nothing it does has an effect.
		return asm.Cat(asm.Get(1), asm.Eqz32, readOnce(p, 1, 5), asm.Op(0x72), asm.If(asm.None, asm.Unreachable), p.call("write_body", num(1), p.text("x")))
	}
	flt := buffering(func(p *program) []byte {
		// The canary's answer is no error.
		armed := asm.Cat(p.call("get_header_values", num(0), p.text("armed"), num(0), num(0)), wrap)
		return asm.Cat(armed, asm.If(asm.None, told(p)))
	})(t, func(o *Options) { o.BodyLimit = 9 })
	x := ask(t, "GET", "/", "armed: 1")
	request(t, flt, x, filter.Continue)
	reply(x, 200, "0123456789")
	if _, err := flt.Response(x, 0, false); err != errResponseLimit {
		t.Fatal(err)
	}
	eq(t, "body", content(t, &x.Response.Body), "0123456789")
	// The upstream breaks off.
	x = ask(t, "GET", "/", "armed: 1")
	request(t, flt, x, filter.Continue)
	gone := fault.New(fault.ResponseTruncated, "cut")
	reply(x, 200, "")
	x.Response.Body.Init(10, &source{pieces: []string{"012"}, end: gone})
	if _, err := flt.Response(x, 0, false); !errors.Is(err, gone) {
		t.Fatal(err)
	}
	if s := flt.Stats(); s.Stock.Discards != 0 || s.Errors["body_limit"] != 1 || x.Slots[0] != nil {
		t.Errorf("%+v", s)
	}
}

// A change of protocol has no body to wait for.
func TestSwitchingProtocols(t *testing.T) {
	flt := buffering(func(p *program) []byte { return p.set(1, "x-a", "1") })(t)
	x := ask(t, "GET", "/")
	request(t, flt, x, filter.Continue)
	x.Response.Status = 101
	x.Response.Body.Init(-1, &source{end: errors.New("must not be read")})
	response(t, flt, x, false)
	eq(t, "fields", list(&x.Response.Header), "x-a: 1")
}

func TestTrailers(t *testing.T) {
	flt := both(t, func(p *program) []byte {
		return asm.Cat(enable(p, 7), readAll(p, 0, 100),
			p.set(0, "x-seen", "no"),
			asm.Cat(p.call("get_header_values", num(2), p.text("x-sum"), into), wrap), asm.If(asm.None, p.set(0, "x-seen", "yes")),
			p.set(2, "X-Sum", "new"), p.call("add_header_value", num(2), p.text("x-sum"), p.text("more")),
			next)
	}, func(p *program) []byte {
		// The response's are apart from the request's.
		n := asm.Cat(p.call("get_header_names", num(3), into), wrap)
		return asm.Cat(p.say(n), p.call("remove_header", num(3), p.text("x-theirs")))
	})
	x := ask(t, "POST", "/")
	withBody(x, -1, io.EOF, "abc")
	addFields(&x.Request.Trailer, []string{"x-sum: old"})
	request(t, flt, x, filter.Continue)
	eq(t, "seen", list(&x.Request.Header), "x-seen: yes")
	eq(t, "request", list(&x.Request.Trailer), "x-sum: new, x-sum: more")
	if x.Request.Body.Length != -1 {
		t.Error("a fixed body carries no trailer fields")
	}
	reply(x, 200, "abc")
	addFields(&x.Response.Trailer, []string{"x-theirs: 1", "x-other: 2"})
	x.Request.Trailers = true
	response(t, flt, x, false)
	eq(t, "response", content(t, &x.Response.Body), "x-other\x00x-theirs\x00")
	eq(t, "response", list(&x.Response.Trailer), "x-other: 2")

	// While the body is still being sent, its trailer fields belong to whoever sends it.
	late := both(t, pass, func(p *program) []byte {
		n := asm.Cat(p.call("get_header_names", num(2), into), wrap)
		return asm.Cat(n, asm.If(asm.None, p.set(1, "x-raced", "1")))
	})
	x = ask(t, "POST", "/")
	withBody(x, -1, io.EOF, "abc")
	request(t, late, x, filter.Continue)
	x.Request.Trailer.Add([]byte("x-sum"), []byte("1"))
	x.Uploading.Store(true)
	reply(x, 200, "")
	response(t, late, x, false)
	x.Uploading.Store(false)
	eq(t, "raced", list(&x.Response.Header), "")
}

// A feature asked for in one request is not had in the next; one asked for at start is had in all.
func TestFeatureScope(t *testing.T) {
	p := newProgram()
	start := p.Func(nil, nil, nil, enable(p, 8|2))
	p.Start(start)
	got := asm.Cat(p.call("enable_features", num(0)), num('0'), asm.Add32)
	answer := asm.Cat(num(buffer), got, asm.Op(0x3a, 0, 0), p.say(num(1)))
	asked := asm.Cat(p.call("get_header_values", num(0), p.text("ask"), num(0), num(0)), wrap, asm.If(asm.None, enable(p, 1)))
	flt := open(t, p.build(asm.Cat(asked, answer, stop), asm.Cat()))
	eq(t, "at start", said(t, flt, ask(t, "GET", "/")), "2")
	eq(t, "in a request", said(t, flt, ask(t, "GET", "/", "ask: 1")), "3")
	eq(t, "after it", said(t, flt, ask(t, "GET", "/")), "2")
}

func TestOutsideOfRequest(t *testing.T) {
	p := newProgram()
	start := p.Func(nil, nil, nil, p.call("get_method", into), asm.Drop)
	p.Start(start)
	eq(t, "start", openError(t, p.build(next, nil)), "instantiate test: run weir:start: guest trapped: host function called outside of a request")
}

func TestReadOwnAnswer(t *testing.T) {
	flt := one(t, func(p *program) []byte {
		return asm.Cat(p.call("write_body", num(1), p.text("mine")), readAll(p, 1, 10), stop)
	})
	eq(t, "body", said(t, flt, ask(t, "GET", "/")), "mine")
}

func TestLargeBodies(t *testing.T) {
	flt := both(t, func(p *program) []byte { return asm.Cat(enable(p, 3), readAll(p, 0, 8192), next) },
		func(p *program) []byte { return readAll(p, 1, 8192) }, func(o *Options) { o.BodyLimit = 1 << 20 })
	big := strings.Repeat("0123456789abcdef", 60<<10/16)
	for range 3 {
		x := ask(t, "POST", "/")
		withBody(x, -1, io.EOF, big, big, big)
		request(t, flt, x, filter.Continue)
		if content(t, &x.Request.Body) != big+big+big {
			t.Fatal("changed on the way")
		}
		reply(x, 200, big)
		response(t, flt, x, false)
		if content(t, &x.Response.Body) != big {
			t.Fatal("changed on the way back")
		}
	}
}
