package httpabi

import (
	"encoding/binary"
	"io"
	"reflect"
	"runtime"
	"testing"
	"unsafe"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wire"
)

// FuzzHostCalls calls the host as a hostile guest would: any function with any arguments and any bytes in memory. It may
// trap, but not in another way than by an error of ours, and what it leaves can be sent.
func FuzzHostCalls(f *testing.F) {
	p := newProgram()
	flt := open(f, p.build(next, nil))
	call := func(fn byte, args ...uint32) []byte {
		b := []byte{fn}
		for i := range 5 {
			v := uint32(0)
			if i < len(args) {
				v = args[i]
			}
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		return b
	}
	f.Add([]byte("host name value"), call(12, 0, 0, 4, 10, 5))
	f.Add([]byte("x-a\r\n: b"), call(12, 1, 0, 3, 3, 5))
	f.Add([]byte("/a/../b?c"), append(call(7, 0, 9), call(6, 64, 64)...))
	f.Add([]byte("x"), call(15, 0, ^uint32(0), ^uint32(0)))
	f.Add([]byte("x"), append(call(0, 7), append(call(15, 0, 64, 3), call(16, 0, 0, 1)...)...))
	f.Add([]byte("x"), call(11, 0, 0, 1, ^uint32(0), ^uint32(0)))
	f.Fuzz(func(t *testing.T, memory, calls []byte) {
		g, err := flt.acquire()
		if err != nil {
			t.Fatal(err)
		}
		x := ask(t, "POST", "/p?q", "x-a: 1", "X-A: 2", "b: 3")
		withBody(x, -1, io.EOF, "0123456789", "abcdef")
		g.begin(x)
		_ = g.in.Memory().Write(0, memory)
		trapped := false
		for len(calls) > 0 && !trapped {
			fn := &functions[int(calls[0])%len(functions)]
			var args [20]byte
			calls = calls[1+copy(args[:], calls[1:]):]
			var stack [5]uint64
			for i := range stack {
				stack[i] = uint64(binary.LittleEndian.Uint32(args[4*i:]))
			}
			trapped = try(t, func() { fn.Fn(g.in, nil, stack[:]) })
		}
		if !trapped && g.err == nil {
			g.passOn()
			length, body := x.Request.Body.Length, content(t, &x.Request.Body)
			if length >= 0 && length != int64(len(body)) {
				t.Errorf("framed as %d bytes, has %d", length, len(body))
			}
		}
		check(t, x)
		x.Response.Trailer.Truncate(0)
		g.reset()
		flt.stock.Put(g.in)
	})
}

// try reports whether fn trapped. Host functions may be called outside of a guest's call: Pause and Resume don't mind.
func try(t *testing.T, fn func()) (trapped bool) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case runtime.Error:
			t.Fatal(r)
		case error:
			trapped = true
		default:
			t.Fatal(r)
		}
	}()
	fn()
	return false
}

// check looks at what would go to a wire.
func check(t *testing.T, x *exchange.Exchange) {
	t.Helper()
	r := &x.Request
	if !abi.Token(r.Method) || len(r.Method) == 0 || !abi.Visible(r.Target) || r.Target[0] != '/' || !wire.ValidHost(r.Host) {
		t.Errorf("%q %q %q", r.Method, r.Target, r.Host)
	}
	for _, h := range []*exchange.Header{&r.Header, &r.Trailer, &x.Response.Header, &x.Response.Trailer} {
		for i := range h.Len() {
			f := h.At(i)
			if !abi.Token(f.Name) || len(f.Name) == 0 || !exchange.CleanValue(f.Value) || abi.Framing(f.ID) || f.ID == exchange.Host && h != &x.Response.Header {
				t.Errorf("%q: %q", f.Name, f.Value)
			}
		}
	}
}

// What belongs to one exchange is gone with it, whatever fields are added to the state.
func TestReset(t *testing.T) {
	v := &visit{}
	fill(reflect.ValueOf(v).Elem())
	v.reset()
	want := visit{}
	rv, rw := reflect.ValueOf(v).Elem(), reflect.ValueOf(&want).Elem()
	for i := range rv.NumField() {
		compare(t, rv.Type().Field(i).Name, rv.Field(i), rw.Field(i))
	}
	v.bytes = make([]byte, 1<<20)
	if v.reset(); cap(v.bytes) != 0 {
		t.Error("a large buffer is kept")
	}
}

func fill(v reflect.Value) {
	v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 8))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Interface:
		v.Set(reflect.ValueOf(io.ErrUnexpectedEOF))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint32:
		v.SetUint(7)
	default:
		v.SetInt(7)
	}
}

func compare(t *testing.T, name string, have, want reflect.Value) {
	switch have.Kind() {
	case reflect.Struct:
		for i := range have.NumField() {
			compare(t, name+"."+have.Type().Field(i).Name, have.Field(i), want.Field(i))
		}
	case reflect.Slice:
		if have.Len() != 0 {
			t.Errorf("%s is kept", name)
		}
	default:
		if !have.IsZero() {
			t.Errorf("%s is kept", name)
		}
	}
}
