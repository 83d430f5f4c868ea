package httpabi

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// one makes a filter whose handle_request is the code, which ends with a ctx_next.
func one(t testing.TB, code func(*program) []byte, change ...func(*Options)) *Filter {
	t.Helper()
	p := newProgram()
	return open(t, p.build(code(p), asm.Cat()), change...)
}

// both makes a filter of two handlers.
func both(t testing.TB, request, response func(*program) []byte, change ...func(*Options)) *Filter {
	t.Helper()
	p := newProgram()
	return open(t, p.build(request(p), response(p)), change...)
}

func pass(*program) []byte { return next }

func nothing(*program) []byte { return asm.Op(0x01) } // a nop: not provably empty

func TestGetters(t *testing.T) {
	f := func(call func(p *program) []byte, want string) {
		t.Helper()
		// The canary has no such facts and no such lengths: it must not matter.
		flt := one(t, func(p *program) []byte { return asm.Cat(p.say(call(p)), stop) }, func(o *Options) { o.Config = []byte(`{"a":1}`) })
		x := ask(t, "PATCH", "/a%2Fb/../c?x=%20", "X-One: 1", "x-two: 2", "X-ONE: 3", "Accept: */*")
		eq(t, "answer", said(t, flt, x), want)
		if x.Response.Status != 200 || !x.Response.Local {
			t.Error(x.Response.Status, x.Response.Local)
		}
	}
	get := func(name string) func(*program) []byte {
		return func(p *program) []byte { return p.call(name, into) }
	}
	f(get("get_method"), "PATCH")
	f(get("get_uri"), "/c?x=%20")
	f(get("get_protocol_version"), "HTTP/1.1")
	f(get("get_source_addr"), "192.0.2.7:4711")
	f(get("get_config"), `{"a":1}`)
	// Names: lower case, sorted, once each, Host among them.
	f(func(p *program) []byte { return asm.Cat(p.call("get_header_names", num(0), into), wrap) }, "accept\x00host\x00x-one\x00x-two\x00")
	f(func(p *program) []byte { return asm.Cat(p.call("get_header_names", num(1), into), wrap) }, "")
	// Values: of a name in any case, in order.
	values := func(name string) func(*program) []byte {
		return func(p *program) []byte {
			return asm.Cat(p.call("get_header_values", num(0), p.text(name), into), wrap)
		}
	}
	f(values("x-one"), "1\x003\x00")
	f(values("X-One"), "1\x003\x00")
	f(values("HOST"), "example.com\x00")
	f(values("absent"), "")
	f(values("x-two"), "2\x00")
	// The buffer lies over the name.
	f(func(p *program) []byte {
		copied := asm.Cat(num(buffer), p.text("x-one"), asm.MemoryCopy)
		return asm.Cat(copied, p.call("get_header_values", num(0), num(buffer), num(5), into), wrap)
	}, "1\x003\x00")
	// Counts stand in the upper half; said as that many bytes of nothing.
	f(func(p *program) []byte {
		return asm.Cat(p.call("get_header_names", num(0), num(0), num(0)), upper)
	}, "\x00\x00\x00\x00")
	// Too small a buffer: the length, and nothing written.
	f(func(p *program) []byte { return p.call("get_uri", num(buffer+64), num(7)) }, strings.Repeat("\x00", 8))
	f(func(p *program) []byte {
		return asm.Cat(p.call("get_header_values", num(0), p.text("x-one"), num(buffer), num(3)), wrap)
	}, "\x00\x00\x00\x00")
	// The default status.
	f(func(p *program) []byte {
		return asm.Cat(p.call("get_status_code"), num(198), asm.Sub32)
	}, "\x00\x00")
}

func TestVersions(t *testing.T) {
	flt := one(t, func(p *program) []byte { return asm.Cat(p.say(p.call("get_protocol_version", into)), stop) })
	for version, want := range map[int]string{exchange.HTTP10: "HTTP/1.0", exchange.HTTP11: "HTTP/1.1", exchange.HTTP20: "HTTP/2.0"} {
		x := ask(t, "GET", "/")
		x.Request.Version = version
		eq(t, "version", said(t, flt, x), want)
	}
}

func TestNoHost(t *testing.T) {
	flt := one(t, func(p *program) []byte {
		n := asm.Cat(p.call("get_header_values", num(0), p.text("host"), into), wrap)
		m := asm.Cat(p.call("get_header_names", num(0), into), wrap)
		return asm.Cat(p.say(asm.Cat(n, m, asm.Add32)), stop)
	})
	x := ask(t, "GET", "/")
	x.Request.Host = nil
	eq(t, "host of HTTP/1.0", said(t, flt, x), "")
}

func TestChangeRequest(t *testing.T) {
	flt := one(t, func(p *program) []byte {
		return asm.Cat(
			p.call("set_method", p.text("PUT")),
			p.call("set_uri", p.text("/new/./path?q=1")),
			p.set(0, "Host", "other.example:81"),
			p.set(0, "X-One", " trimmed\t"),
			p.set(0, "x-many", "one"),
			p.set(0, "X-New", "n"),
			p.call("add_header_value", num(0), p.text("x-two"), p.text("again")),
			p.call("remove_header", num(0), p.text("X-Gone")),
			p.call("remove_header", num(0), p.text("host")),
			p.set(0, "x-empty", ""),
			next)
	})
	x := ask(t, "GET", "/old", "X-one: 1", "X-Many: 1", "X-Two: 2", "X-many: 2", "x-gone: 1")
	request(t, flt, x, filter.Continue)
	r := &x.Request
	eq(t, "request", fmt.Sprintf("%s %s %s %s %s", r.Method, r.Target, r.Path, r.Query, r.Host), "PUT /new/path?q=1 /new/path q=1 other.example:81")
	eq(t, "fields", list(&r.Header), "X-one: trimmed, X-Many: one, X-Two: 2, X-New: n, x-two: again, x-empty: ")
	reply(x, 200, "ok")
	response(t, flt, x, false)
	eq(t, "the client's method frames the answer", string(r.Method), "GET")
}

func TestEmptyURI(t *testing.T) {
	flt := one(t, func(p *program) []byte { return asm.Cat(p.call("set_uri", num(0), num(0)), next) })
	x := ask(t, "GET", "/old?x")
	request(t, flt, x, filter.Continue)
	eq(t, "target", string(x.Request.Target), "/")
	eq(t, "query", string(x.Request.Query), "")
}

// A guest can't frame messages, whatever it sets.
func TestFramingFields(t *testing.T) {
	names := []string{"Connection", "Content-Length", "Transfer-Encoding", "Keep-Alive", "TE", "Trailer", "Upgrade",
		"Proxy-Connection", "Proxy-Authorization", "HTTP2-Settings", "Expect"}
	flt := both(t, func(p *program) []byte {
		code := asm.Cat()
		for _, n := range names {
			code = asm.Cat(code, p.set(0, n, "1"), p.call("add_header_value", num(0), p.text(n), p.text("1")))
			code = asm.Cat(code, p.set(2, n, "1"))
		}
		for _, n := range []string{"Authorization", "content-type", "Cookie", "host", "x-forwarded-for"} {
			code = asm.Cat(code, p.set(2, n, "1"))
		}
		return asm.Cat(code, next)
	}, func(p *program) []byte {
		code := asm.Cat()
		for _, n := range names {
			code = asm.Cat(code, p.set(1, n, "1"), p.set(3, n, "1"))
		}
		return code
	})
	x := ask(t, "POST", "/", "x-a: 1")
	request(t, flt, x, filter.Continue)
	eq(t, "request", list(&x.Request.Header), "x-a: 1")
	eq(t, "request trailers", list(&x.Request.Trailer), "")
	reply(x, 200, "ok", "x-b: 1")
	response(t, flt, x, false)
	eq(t, "response", list(&x.Response.Header), "x-b: 1")
	eq(t, "response trailers", list(&x.Response.Trailer), "")
}

func TestTraps(t *testing.T) {
	// f runs code in handle_request once a request says it may, so that the canary passes.
	f := func(name string, want error, code func(p *program) []byte) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			flt := one(t, func(p *program) []byte {
				armed := asm.Cat(p.call("get_header_values", num(0), p.text("armed"), num(0), num(0)), wrap)
				return asm.Cat(armed, asm.If(asm.None, code(p)), next)
			}, func(o *Options) { o.CPU, o.CPUTotal = time.Second, time.Second })
			x := ask(t, "GET", "/path", "armed: 1", "x-a: 1")
			_, err := flt.Request(x, 0)
			if err == nil || fault.KindOf(err) != fault.GuestFailed {
				t.Fatal(err)
			}
			if have := trapOf(t, err); !errors.Is(have, want) {
				t.Errorf("have %v, want %v", have, want)
			}
			if x.Slots[0] != nil {
				t.Error("state left")
			}
			eq(t, "header", list(&x.Request.Header), "armed: 1, x-a: 1")
			eq(t, "target", string(x.Request.Target)+string(x.Request.Host), "/pathexample.com")
		})
	}
	drop := asm.Drop
	f("empty method", errMethod, func(p *program) []byte { return p.call("set_method", num(16), num(0)) })
	f("method no token", errMethod, func(p *program) []byte { return p.call("set_method", p.text("GET /")) })
	f("connect", errMethod, func(p *program) []byte { return p.call("set_method", p.text("CONNECT")) })
	f("long method", errMethod, func(p *program) []byte { return p.call("set_method", p.text(strings.Repeat("A", 33))) })
	for _, uri := range []string{"x", "http://a/", "/a b", "/a\r\nx: y", "/a#b", `/a\b`, "/a/..%2fb", "/%zz", "/a\x00", "*", "/\xff"} {
		f("uri "+uri, errTarget, func(p *program) []byte { return p.call("set_uri", p.text(uri)) })
	}
	f("long uri", errTarget, func(p *program) []byte { return p.call("set_uri", num(0), num(9000)) })
	for _, name := range []string{"a b", "a:", "a\r\nb", "a\x00", "é", ":path"} {
		f("name "+name, errName, func(p *program) []byte { return p.set(0, name, "v") })
		f("add name "+name, errName, func(p *program) []byte { return p.call("add_header_value", num(1), p.text(name), p.text("v")) })
	}
	for _, value := range []string{"a\r\nx: y", "a\nb", "a\x00b", "\x7f"} {
		f("value "+value, errValue, func(p *program) []byte { return p.set(0, "x-a", value) })
	}
	for _, host := range []string{"", "a b", "a/b", "a:x", "user@a", "a,b"} {
		f("host "+host, errHost, func(p *program) []byte { return p.set(0, "Host", host) })
	}
	f("empty name", errEmptyName, func(p *program) []byte { return p.set(0, "", "v") })
	f("empty name add", errEmptyName, func(p *program) []byte { return p.call("add_header_value", num(0), num(0), num(0), num(0), num(0)) })
	f("empty name remove", errEmptyName, func(p *program) []byte { return p.call("remove_header", num(0), num(0), num(0)) })
	f("empty name get", errEmptyName, func(p *program) []byte {
		return asm.Cat(p.call("get_header_values", num(0), num(0), num(0), into), drop)
	})
	f("header kind", errKind, func(p *program) []byte { return asm.Cat(p.call("get_header_names", num(4), into), drop) })
	f("header kind set", errKind, func(p *program) []byte { return p.set(-1, "a", "b") })
	f("body kind", errKind, func(p *program) []byte { return asm.Cat(p.call("read_body", num(2), into), drop) })
	f("body kind write", errKind, func(p *program) []byte { return p.call("write_body", num(9), into) })
	f("read nothing", errNoRoom, func(p *program) []byte { return asm.Cat(p.call("read_body", num(0), num(0), num(0)), drop) })
	f("status 0", errStatus, func(p *program) []byte { return p.call("set_status_code", num(0)) })
	f("status 101", errStatus, func(p *program) []byte { return p.call("set_status_code", num(101)) })
	f("status 600", errStatus, func(p *program) []byte { return p.call("set_status_code", num(600)) })
	f("status -1", errStatus, func(p *program) []byte { return p.call("set_status_code", num(-1)) })

	// Pointers: outside, over the end by one, and such that pointer and length overflow.
	size := int32(2 * 65536)
	for _, r := range [][2]int32{{-1, 1}, {-1, -1}, {1, -1}, {size, 1}, {size - 1, 2}, {-8, 16}} {
		bad := asm.Cat(num(r[0]), num(r[1]))
		mem := func(name string, code func(p *program) []byte) { f(fmt.Sprint(name, r), errMemory, code) }
		mem("set_method", func(p *program) []byte { return p.call("set_method", bad) })
		mem("set_uri", func(p *program) []byte { return p.call("set_uri", bad) })
		mem("set name", func(p *program) []byte { return p.call("set_header_value", num(0), bad, p.text("v")) })
		mem("set value", func(p *program) []byte { return p.call("set_header_value", num(0), p.text("n"), bad) })
		mem("remove", func(p *program) []byte { return p.call("remove_header", num(0), bad) })
		mem("read_body", func(p *program) []byte { return asm.Cat(p.call("read_body", num(0), bad), drop) })
		mem("write_body", func(p *program) []byte { return p.call("write_body", num(1), bad) })
		mem("values of", func(p *program) []byte { return asm.Cat(p.call("get_header_values", num(0), bad, into), drop) })
	}
	// A getter's limit may be anything; what is written must fit.
	out := asm.Cat(num(size-2), num(-1))
	f("get_uri", errMemory, func(p *program) []byte { return asm.Cat(p.call("get_uri", out), drop) })
	f("names", errMemory, func(p *program) []byte { return asm.Cat(p.call("get_header_names", num(0), out), drop) })
	f("host value", errMemory, func(p *program) []byte {
		return asm.Cat(p.call("get_header_values", num(0), p.text("host"), out), drop)
	})
	f("value", errMemory, func(p *program) []byte {
		return asm.Cat(p.call("get_header_values", num(0), p.text("armed"), num(size-1), num(9)), drop)
	})

	// A guest can't fill the host's memory.
	f("header flood", errTooMuch, func(p *program) []byte {
		fill := asm.Cat(num(buffer), num('v'), num(1<<14), asm.MemoryFill)
		return asm.Cat(fill, asm.Loop(asm.None, p.call("set_header_value", num(2), p.text("x"), num(buffer), num(1<<14)), asm.Br(0)))
	})
	f("field flood", errTooMuch, func(p *program) []byte {
		return asm.Loop(asm.None, p.call("add_header_value", num(1), p.text("x"), p.text("y")), asm.Br(0))
	})
	f("uri flood", errTooMuch, func(p *program) []byte { return asm.Loop(asm.None, p.call("set_uri", p.text("/path")), asm.Br(0)) })
	f("body flood", wasm.ErrBudget, func(p *program) []byte {
		return asm.Loop(asm.None, p.call("write_body", num(0), num(0), num(1<<16)), asm.Br(0))
	})
}

// A body that a guest makes too large ends its exchange, and not the instance: any client could have it so, with a body that is
// just small enough before the guest puts something to it.
func TestWritesTooMuch(t *testing.T) {
	flood := func(p *program, kind int32) []byte {
		return asm.Cat(p.call("write_body", num(kind), num(0), num(1<<16)), p.call("write_body", num(kind), num(0), num(1<<16)))
	}
	for _, kind := range []int32{requestBody, responseBody} {
		flt := both(t, func(p *program) []byte {
			if kind == requestBody {
				return asm.Cat(armed(p, flood(p, kind)), next)
			}
			return asm.Cat(p.call("enable_features", num(featureBufferResponse)), asm.Drop, next)
		}, func(p *program) []byte {
			if kind == requestBody {
				return nothing(p)
			}
			return armed(p, flood(p, kind))
		}, func(o *Options) { o.BodyLimit = 100 << 10 })
		x := ask(t, "POST", "/", "armed: 1")
		_, err := flt.Request(x, 0)
		if kind == responseBody {
			if err != nil {
				t.Fatal(err)
			}
			reply(x, 200, "")
			_, err = flt.Response(x, 0, false)
		}
		if err != errRequestLimit && err != errResponseLimit {
			t.Error(err)
		}
		if s := flt.Stats(); s.Errors["body_limit"] != 1 || s.Stock.Discards != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// Without a valid pointer nothing of length 0 fails, and getters of nothing write nothing.
func TestNullPointers(t *testing.T) {
	wild := asm.Cat(num(-1), num(0))
	flt := one(t, func(p *program) []byte {
		return asm.Cat(
			p.call("set_header_value", num(0), p.text("x-a"), wild),
			p.call("write_body", num(1), wild),
			p.call("log", num(0), wild),
			p.call("log", num(2), num(-1), num(-1)),
			p.call("log", num(77), num(-1), num(-1)),
			p.call("get_config", num(-1), num(-1)), asm.Drop,
			p.call("get_header_names", num(1), num(-1), num(-1)), asm.Drop,
			p.call("get_header_values", num(0), p.text("absent"), num(-1), num(-1)), asm.Drop,
			p.call("get_uri", num(-1), num(0)), asm.Drop,
			next)
	})
	x := ask(t, "GET", "/")
	request(t, flt, x, filter.Continue)
	eq(t, "header", list(&x.Request.Header), "x-a: ")
	reply(x, 200, "")
	response(t, flt, x, false)
}

// What belongs to the request can't be changed any more; of the answer only what buffering allows.
func TestAfterNext(t *testing.T) {
	f := func(name string, want error, code func(p *program) []byte) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			flt := both(t, pass, func(p *program) []byte {
				armed := asm.Cat(p.call("get_header_values", num(0), p.text("armed"), num(0), num(0)), wrap)
				return asm.Cat(armed, asm.If(asm.None, code(p)))
			})
			x := ask(t, "GET", "/", "armed: 1")
			request(t, flt, x, filter.Continue)
			reply(x, 200, "ok")
			_, err := flt.Response(x, 0, false)
			if err == nil || !errors.Is(trapOf(t, err), want) {
				t.Error(err)
			}
		})
	}
	f("method", errAfterNext, func(p *program) []byte { return p.call("set_method", p.text("PUT")) })
	f("uri", errAfterNext, func(p *program) []byte { return p.call("set_uri", p.text("/")) })
	f("header", errAfterNext, func(p *program) []byte { return p.set(0, "a", "b") })
	f("trailer", errAfterNext, func(p *program) []byte { return p.set(2, "a", "b") })
	f("remove", errAfterNext, func(p *program) []byte { return p.call("remove_header", num(0), p.text("a")) })
	f("write", errAfterNext, func(p *program) []byte { return p.call("write_body", num(0), p.text("a")) })
	f("read", errAfterNext, func(p *program) []byte { return asm.Cat(p.call("read_body", num(0), into), asm.Drop) })
	f("write response", errUnbuffered, func(p *program) []byte { return p.call("write_body", num(1), p.text("a")) })
	f("read response", errUnbuffered, func(p *program) []byte { return asm.Cat(p.call("read_body", num(1), into), asm.Drop) })
	f("status", errUnbuffered, func(p *program) []byte { return p.call("set_status_code", num(404)) })
	// Too late to ask for it.
	f("enable", errUnbuffered, func(p *program) []byte {
		return asm.Cat(p.call("enable_features", num(2)), asm.Drop, p.call("set_status_code", num(404)))
	})
}

func TestAnswer(t *testing.T) {
	flt := one(t, func(p *program) []byte {
		return asm.Cat(
			p.call("set_status_code", num(403)), p.set(1, "Content-Type", "text/plain"),
			p.call("add_header_value", num(1), p.text("set-cookie"), p.text("a=1")),
			p.call("add_header_value", num(1), p.text("set-cookie"), p.text("b=2")),
			p.call("write_body", num(1), p.text("no ")), p.call("write_body", num(1), p.text("entry")),
			p.call("set_method", p.text("HEAD")),
			asm.Const64(7<<32)) // a context is none of next's business
	})
	x := ask(t, "GET", "/")
	eq(t, "body", said(t, flt, x), "no entry")
	r := &x.Response
	if r.Status != 403 || !r.Local || r.Body.Length != 8 || x.Slots[0] != nil || string(x.Request.Method) != "GET" {
		t.Error(r.Status, r.Local, r.Body.Length, x.Slots[0])
	}
	eq(t, "fields", list(&r.Header), "Content-Type: text/plain, set-cookie: a=1, set-cookie: b=2")
	// handle_response is not called, and a second response phase does nothing.
	response(t, flt, x, false)
}

// Fields and a body set before there is an answer stay unless the upstream says otherwise.
func TestPresets(t *testing.T) {
	code := func(p *program) []byte {
		return asm.Cat(p.set(1, "x-preset", "mine"), p.call("add_header_value", num(1), p.text("x-Many"), p.text("1")),
			p.call("add_header_value", num(1), p.text("x-many"), p.text("2")), p.set(1, "Server", "mine"), p.set(3, "x-sum", "9"),
			p.call("set_status_code", num(404)), p.call("write_body", num(1), p.text("mine")), next)
	}
	flt := one(t, code)
	f := func(method, body string, status int, wantBody, wantHeader string) {
		t.Helper()
		x := ask(t, method, "/")
		request(t, flt, x, filter.Continue)
		if x.Response.Header.Len() != 0 || x.Response.Status != 0 {
			t.Error("the upstream's answer does not begin empty")
		}
		reply(x, status, body, "server: theirs")
		response(t, flt, x, false)
		if x.Response.Status != status {
			t.Error(x.Response.Status)
		}
		eq(t, "fields", list(&x.Response.Header), wantHeader)
		eq(t, "trailer", list(&x.Response.Trailer), "x-sum: 9")
		eq(t, "body", content(t, &x.Response.Body), wantBody)
	}
	fields := "server: theirs, x-preset: mine, x-Many: 1, x-many: 2"
	f("GET", "theirs", 200, "theirs", fields)
	f("GET", "", 200, "mine", fields)
	f("HEAD", "", 200, "", fields)
	f("GET", "", 304, "", fields)
}

// A client that asked with one method must get an answer framed for that method, whatever the upstream was asked with.
func TestMethodFramesAnswer(t *testing.T) {
	flt := one(t, func(p *program) []byte { return asm.Cat(p.call("set_method", p.text("GET")), next) })
	x := ask(t, "HEAD", "/")
	request(t, flt, x, filter.Continue)
	eq(t, "sent with", string(x.Request.Method), "GET")
	reply(x, 200, "body")
	response(t, flt, x, false)
	eq(t, "answered for", string(x.Request.Method), "HEAD")
	eq(t, "body", content(t, &x.Response.Body), "")
}

func TestResponseHeaders(t *testing.T) {
	flt := both(t, pass, func(p *program) []byte {
		return asm.Cat(p.set(1, "x-one", "new"), p.call("remove_header", num(1), p.text("Server")), p.set(1, "x-two", "2"), p.set(3, "x-sum", "1"))
	})
	for _, wants := range []bool{false, true} {
		x := ask(t, "GET", "/")
		x.Request.Trailers = wants
		request(t, flt, x, filter.Continue)
		reply(x, 200, "stays", "server: s", "X-One: 1", "x-one: 2")
		response(t, flt, x, false)
		eq(t, "fields", list(&x.Response.Header), "X-One: new, x-two: 2")
		eq(t, "trailer", list(&x.Response.Trailer), "x-sum: 1")
		if chunked := x.Response.Body.Length == -1; chunked != wants {
			t.Error("an answer with trailer fields is chunked only for who accepts them")
		}
		eq(t, "body", content(t, &x.Response.Body), "stays")
	}
}

// handle_response is given what handle_request returned, and isError when there is no answer.
func TestIsError(t *testing.T) {
	flt := both(t, func(*program) []byte { return asm.Const64(5<<32 | 9) }, func(p *program) []byte {
		n := asm.Cat(asm.Get(0), num(10), asm.Mul32, asm.Get(1), asm.Add32) // shows in the length of a value
		return asm.Cat(num(buffer), num('n'), num(100), asm.MemoryFill, p.call("set_header_value", num(1), p.text("x-n"), num(buffer), n))
	})
	for n, failed := range map[int]bool{50: false, 51: true} {
		x := ask(t, "GET", "/")
		request(t, flt, x, filter.Continue)
		reply(x, 502, "error")
		response(t, flt, x, failed)
		eq(t, "fields", list(&x.Response.Header), "x-n: "+strings.Repeat("n", n))
	}
}

// The client leaves while the upstream works: the guest is told, and nothing it does has an effect.
func TestClientLeaves(t *testing.T) {
	flt := both(t, func(p *program) []byte {
		return asm.Cat(p.call("enable_features", num(2)), asm.Drop, asm.Const64(5<<32|1))
	},
		func(p *program) []byte {
			return asm.Cat(p.set(1, "x-late", "1"), p.call("write_body", num(1), p.text("late")), p.call("set_status_code", num(404)),
				p.call("remove_header", num(1), p.text("x-keep")))
		})
	x := ask(t, "GET", "/")
	request(t, flt, x, filter.Continue)
	if flt.stock.Stats().InUse != 1 {
		t.Fatal("the instance is bound while the upstream works")
	}
	reply(x, 200, "", "x-keep: 1")
	x.Slots[0].Release(x)
	x.Slots[0] = nil
	eq(t, "fields", list(&x.Response.Header), "x-keep: 1")
	if s := flt.Stats(); s.Stock.InUse != 0 || s.Stock.Discards != 0 || x.Response.Status != 200 {
		t.Errorf("%+v", s)
	}
}

// An exchange that breaks in the middle of a call costs the instance.
func TestAbandoned(t *testing.T) {
	flt := one(t, pass)
	g, err := flt.acquire()
	if err != nil {
		t.Fatal(err)
	}
	x := ask(t, "GET", "/")
	g.begin(x)
	g.Release(x)
	if s := flt.Stats(); s.Stock.Discards != 1 || s.Stock.InUse != 0 {
		t.Errorf("%+v", s)
	}
}

// A function that does nothing is not waited for: the instance serves others while the upstream works.
func TestSilent(t *testing.T) {
	p := newProgram()
	f := open(t, p.build(asm.Cat(p.set(0, "x-a", "1"), next), nil), func(o *Options) { o.Instances = 1 })
	x, y := ask(t, "GET", "/"), ask(t, "GET", "/")
	request(t, f, x, filter.Continue)
	request(t, f, y, filter.Continue)
	reply(x, 200, "")
	response(t, f, x, false)
	if !f.silent || x.Slots[0] != nil || f.Stats().Stock.Waits != 0 {
		t.Errorf("%+v", f.Stats())
	}
}

// An instance sees nothing of the exchange before in what the host writes.
func TestNothingLeaks(t *testing.T) {
	flt := one(t, func(p *program) []byte {
		n := asm.Cat(p.call("get_header_values", num(0), p.text("authorization"), into), wrap)
		m := asm.Cat(p.call("read_body", num(0), num(buffer+1000), num(1000)), wrap)
		return asm.Cat(
			// Clear, then read, then answer with all that could have been written.
			num(buffer), num(0), num(16<<10), asm.MemoryFill,
			n, asm.Drop, m, asm.Drop,
			p.say(num(4000)), stop)
	}, func(o *Options) { o.Instances = 1 })
	x := ask(t, "POST", "/", "Authorization: secret-of-a")
	withBody(x, 11, io.EOF, "body-secret")
	if got := said(t, flt, x); !strings.Contains(got, "secret-of-a") || !strings.Contains(got, "body-secret") {
		t.Fatal("the guest of the test reads nothing")
	}
	y := ask(t, "POST", "/", "Authorization: b")
	withBody(y, 1, io.EOF, "c")
	got := said(t, flt, y)
	if strings.Contains(got, "secret") || strings.Trim(got, "\x00") != "b"+strings.Repeat("\x00", 999)+"c" {
		t.Errorf("left over: %q", strings.Trim(got, "\x00"))
	}
}
