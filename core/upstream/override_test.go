package upstream

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestOperatorSetsEndpoints(t *testing.T) {
	r := NewRegistry(RegistryOptions{})
	defer r.Close()
	o := Options{Name: "api", Endpoints: numbered(2), Parse: parseLines}
	u, err := Open(r, o)
	if err != nil {
		t.Fatal(err)
	}
	f := func(err error, wantErr string, set bool, want string) {
		t.Helper()
		if (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
			t.Errorf("error %v, want %q", err, wantErr)
		}
		s := u.Status()
		if names(u) != want || s.Set != set {
			t.Errorf("%s, set: %v; want %s", names(u), s.Set, want)
		}
		for _, e := range s.Endpoints {
			if (e.Source == FromOperator) != set {
				t.Errorf("%+v", e)
			}
		}
	}
	first := u.Endpoints()[0]
	f(u.SetEndpoints([]byte("nonsense")), "bad endpoint", false, "10.0.0.1:80, 10.0.0.2:80")
	f(u.SetEndpoints([]byte(`[]`)), "at least one", false, "10.0.0.1:80, 10.0.0.2:80")
	f(u.AddEndpoints([]byte("10.7.0.1:80")), "", true, "10.0.0.1:80, 10.0.0.2:80, 10.7.0.1:80")
	f(u.AddEndpoints([]byte(`[{"url":"http://10.0.0.2:80","weight":7}]`)), "", true, "10.0.0.1:80, 10.0.0.2:80, 10.7.0.1:80")
	if s := u.Status().Endpoints; s[1].Weight != 7 || u.Endpoints()[0] != first {
		t.Errorf("%+v", s)
	}
	f(u.RemoveEndpoint("http://10.0.0.9:80"), ErrNoTarget.Error(), true, "10.0.0.1:80, 10.0.0.2:80, 10.7.0.1:80")
	f(u.RemoveEndpoint("http://10.0.0.1:80"), "", true, "10.0.0.2:80, 10.7.0.1:80")
	// It holds after reloads, of the same and of another configuration.
	for range 2 {
		next, err := Open(r, o)
		if err != nil {
			t.Fatal(err)
		}
		u.Close()
		u = next
		f(nil, "", true, "10.0.0.2:80, 10.7.0.1:80")
		o.SlowStart += time.Second
		o.Endpoints = numbered(3)
	}
	f(u.RemoveEndpoint("http://10.0.0.2:80"), "", true, "10.7.0.1:80")
	f(u.RemoveEndpoint("http://10.7.0.1:80"), "last endpoint", true, "10.7.0.1:80")
	if !u.ResetEndpoints() || u.ResetEndpoints() {
		t.Error("reset says the wrong thing")
	}
	f(nil, "", false, "10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80")
	// It ends with the upstream.
	f(u.SetEndpoints([]byte("10.7.0.1:80")), "", true, "10.7.0.1:80")
	u.Close()
	if u, err = Open(r, o); err != nil {
		t.Fatal(err)
	}
	f(nil, "", false, "10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80")
	// Plans old and new have the same.
	o.SlowStart += time.Second
	next, err := Open(r, o)
	if err != nil {
		t.Fatal(err)
	}
	f(next.SetEndpoints([]byte("10.7.0.1:80")), "", true, "10.7.0.1:80")
	next.Close()
	// When a plan that could not be built goes, the one before is the newest again.
	o.SlowStart += time.Second
	if next, err = Open(r, o); err != nil || names(next) != "10.7.0.1:80" {
		t.Error(err, names(next))
	}
	next.Close()
	u.Close()
	fixed := offline(t, Options{Endpoints: numbered(1)})
	if err := fixed.SetEndpoints(nil); !errors.Is(err, ErrFixed) {
		t.Error(err)
	}
}
