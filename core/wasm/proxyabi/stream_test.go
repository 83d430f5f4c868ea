package proxyabi

import (
	"reflect"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
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
