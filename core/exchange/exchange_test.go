package exchange

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/pool"
)

// down is a Downstream that nobody calls.
type down struct{ Downstream }

// state counts its releases.
type state struct{ released *int }

func (s state) Release(*Exchange) { *s.released++ }

// settable makes a field of any kind settable, also one that is not exported.
func settable(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
}

// fillAll gives every field under v a value that is not its zero.
func fillAll(t *testing.T, v reflect.Value, path string) {
	v = settable(v)
	switch x := v.Addr().Interface().(type) {
	case *sync.Mutex:
		return
	case *atomic.Bool:
		x.Store(true)
		return
	case *netip.AddrPort:
		*x = netip.MustParseAddrPort("192.0.2.1:80")
		return
	case *netip.Addr:
		*x = netip.MustParseAddr("192.0.2.1")
		return
	case *Source:
		*x = &source{}
		return
	case *Downstream:
		*x = down{}
		return
	case *Link:
		*x = netio.New(&still{})
		return
	case *func():
		*x = func() {}
		return
	case *State:
		*x = state{new(int)}
		return
	case *error:
		*x = errors.New("filled")
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillAll(t, v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	case reflect.Array:
		for i := range v.Len() {
			fillAll(t, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 5))
		for i := range v.Len() {
			fillAll(t, v.Index(i), path+"[]")
		}
	case reflect.String:
		v.SetString("filled")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(7)
	default:
		t.Fatalf("%s: no way to fill a %v", path, v.Type())
	}
	if v.IsZero() {
		t.Fatalf("%s was not filled", path)
	}
}

// compare reports every field in which got differs from want; the room of a buffer is no difference, its content is.
func compare(t *testing.T, got, want reflect.Value, path string) {
	got, want = settable(got), settable(want)
	switch {
	case path == ".gen" || path == ".mu":
	case got.Kind() == reflect.Struct:
		for i := range got.NumField() {
			compare(t, got.Field(i), want.Field(i), path+"."+got.Type().Field(i).Name)
		}
	case got.Kind() == reflect.Slice && got.Len() == 0 && want.Len() == 0:
		if got.Type().Elem() == reflect.TypeFor[Field]() {
			for i := range got.Cap() {
				if !got.Slice(0, got.Cap()).Index(i).IsZero() {
					t.Errorf("%s keeps a field out of sight", path)
				}
			}
		}
	case !reflect.DeepEqual(got.Interface(), want.Interface()):
		t.Errorf("%s is %v after reset, in a new one %v", path, got.Interface(), want.Interface())
	}
}

func TestResetForgetsEverything(t *testing.T) {
	x := exchanges.New().(*Exchange)
	fillAll(t, reflect.ValueOf(x).Elem(), "")
	x.head, x.back = pool.Acquire(1), pool.Acquire(1)
	Release(x)
	compare(t, reflect.ValueOf(x).Elem(), reflect.ValueOf(exchanges.New()).Elem(), "")
	// A new one and its parts have no body, rather than one without a source.
	fresh := Acquire()
	if !fresh.Request.Body.Empty() || !fresh.Response.Body.Empty() {
		t.Error("a new exchange has a body")
	}
	// ClearResponse does the same for the response alone.
	fillAll(t, reflect.ValueOf(x).Elem(), "")
	x.ClearResponse()
	compare(t, reflect.ValueOf(&x.Response).Elem(), reflect.ValueOf(&fresh.Response).Elem(), "")
	if x.Request.Version == 0 {
		t.Error("the request is gone as well")
	}
}

// TestResetDropsLargeBuffers lets one large exchange not make all later ones large.
func TestResetDropsLargeBuffers(t *testing.T) {
	x := exchanges.New().(*Exchange)
	for range 1000 {
		x.Request.Header.AddString("X", make([]byte, 100))
	}
	x.Scratch = make([]byte, 100, 9<<10)
	x.reset()
	if h := &x.Request.Header; cap(h.fields) > 256 || cap(h.arena) > 16<<10 || cap(x.Scratch) > 8<<10 {
		t.Errorf("kept %d fields, %d and %d bytes", cap(h.fields), cap(h.arena), cap(x.Scratch))
	}
	x.Response.Header.AddString("X", make([]byte, 100))
	x.reset()
	if cap(x.Response.Header.arena) == 0 {
		t.Error("a usual buffer was not kept")
	}
}

func TestReleaseReleasesStates(t *testing.T) {
	released := 0
	x := Acquire()
	x.Slots[0], x.Slots[MaxSlots-1] = state{&released}, state{&released}
	Release(x)
	if released != 2 || x.Slots != [MaxSlots]State{} {
		t.Errorf("%d released", released)
	}
}

func TestOwnBack(t *testing.T) {
	x := Acquire()
	defer Release(x)
	x.OwnHead(pool.Acquire(1))
	x.OwnBack(pool.Acquire(1))
	x.OwnBack(pool.Acquire(pool.Medium)) // gives the first back
	if len(x.head) != pool.Small || len(x.back) != pool.Medium {
		t.Errorf("%d %d", len(x.head), len(x.back))
	}
}

func TestParams(t *testing.T) {
	var p Params
	for i := range 10 {
		p.Set(fmt.Sprint("p", i), []byte{byte('a' + i)})
	}
	if string(p.Get("p0")) != "a" || string(p.Get("p7")) != "h" || p.Get("p8") != nil || p.Get("") != nil {
		t.Errorf("%+v", p)
	}
	p.Clear()
	if p.Get("p0") != nil {
		t.Error("cleared")
	}
}

func TestRequestID(t *testing.T) {
	x := Acquire()
	defer Release(x)
	seen := map[string]bool{}
	for range 10000 {
		x.NewRequestID()
		id := string(x.RequestID)
		if seen[id] {
			t.Fatalf("%s twice", id)
		}
		seen[id] = true
		for i, c := range []byte(id) {
			dash := i == 8 || i == 13 || i == 18 || i == 23
			if dash != (c == '-') || !dash && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				t.Fatalf("%s at %d", id, i)
			}
		}
		if len(id) != 36 || id[14] != '4' || id[19] != '8' && id[19] != '9' && id[19] != 'a' && id[19] != 'b' {
			t.Fatalf("%s is no version 4", id)
		}
	}
}

type facts map[string][]string

func (f facts) Value(path string) (string, bool) {
	v := f[path]
	if len(v) != 1 {
		return "", false
	}
	return v[0], true
}

func (f facts) List(path string) ([]string, bool) { v, ok := f[path]; return v, ok }

func TestIdentity(t *testing.T) {
	id := &Identity{Roles: []string{"admin"}, Scopes: []string{"read"}, Claims: facts{"a": {"1"}, "b": {"2", "3"}}}
	var nobody *Identity
	for _, who := range []*Identity{nobody, {}} {
		_, one := who.Claim("a")
		_, many := who.ClaimList("a")
		if one || many || who.HasRole("admin") || who.HasScope("read") || who.HasRole("") {
			t.Errorf("%v can do something", who)
		}
	}
	one, ok := id.Claim("a")
	many, okList := id.ClaimList("b")
	if one != "1" || !ok || len(many) != 2 || !okList || !id.HasRole("admin") || id.HasRole("Admin") || !id.HasScope("read") || id.HasScope("rea") {
		t.Errorf("%+v", id)
	}
}
