package proxyabi

import (
	"reflect"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// A stream that has been used is as one that has not, but for what it keeps on purpose.
func TestStreamReset(t *testing.T) {
	keeps := map[string]bool{"sh": true, "stream": true, "st": true, "response": true, "wake": true, "timer": true, "own": true, "Make": true,
		"body": true, "head": true, "details": true, "under": true}
	st := newStream(&shard{})
	st.request.between, st.response.between, st.reply.set = true, true, true
	fill(reflect.ValueOf(st).Elem())
	st.reset()
	var check func(path string, v reflect.Value)
	check = func(path string, v reflect.Value) {
		for i := range v.NumField() {
			f, ft := v.Field(i), v.Type().Field(i)
			name := path + ft.Name
			switch {
			case f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[exchange.Body]():
				check(name+".", f)
			case keeps[ft.Name]:
			case !f.IsZero():
				t.Errorf("%s is not reset", name)
			}
		}
	}
	check("", reflect.ValueOf(st).Elem())
}

// After a crowd whose bodies were held back, few streams keep the buffers.
func TestCrowdLeavesNoBuffers(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_request_body", asm.Get(2), asm.Eqz32) // holds all back until the end
	vm, pl := open(t, p, Options{}, PluginOptions{})
	f := at(t, pl, Site{})
	var all []*exchange.Exchange
	for range 3 * warmStreams {
		x := ask(t, -1, "a", "body")
		request(t, f, x, filter.Continue)
		if got, err := pull(&x.Request.Body); got != "abody" || err != nil {
			t.Fatal(got, err)
		}
		all = append(all, x)
	}
	for _, x := range all {
		exchange.Release(x)
	}
	sh := vm.shards[0].Load()
	streams, warm := 0, 0
	for st := sh.free; st != nil; st = st.next {
		if streams++; cap(st.request.own) > 0 {
			warm++
		}
	}
	if streams < len(all) || warm == 0 || warm > warmStreams {
		t.Errorf("%d of %d streams keep their buffers", warm, streams)
	}
}

// fill sets what can be set without harm: numbers, flags and what they stand in.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		f = reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem()
		switch f.Kind() {
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Int, reflect.Int32, reflect.Int64:
			f.SetInt(1)
		case reflect.Uint32:
			f.SetUint(1)
		case reflect.Slice:
			if f.Type().Elem().Kind() == reflect.Uint8 {
				f.SetBytes([]byte("x"))
			}
		case reflect.Struct:
			if f.Type() != reflect.TypeFor[exchange.Body]() {
				fill(f)
			}
		}
	}
}
