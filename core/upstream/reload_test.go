package upstream

import (
	"runtime"
	"testing"
	"time"
)

// A thousand reloads, every other one to another configuration, leave nothing behind.
func TestReloadsLeaveNothing(t *testing.T) {
	dns := startDNS(t)
	dns.host("api.test", "127.0.0.1")
	s := startSick(t, 200)
	port := s.options().Address[len("127.0.0.1:"):]
	r := NewRegistry(RegistryOptions{Resolver: dns.resolver()})
	defer r.Close()
	options := func(n int) Options {
		h := quickly
		h.Timeout += time.Duration(n%2) * time.Millisecond
		return Options{
			Name: "api", Health: &h, Ejection: &EjectionOptions{Max: 0.5}, SlowStart: time.Second, Resolve: 20 * time.Millisecond,
			Endpoints: []EndpointOptions{s.options(), {Address: "api.test:" + port, Host: "api.example"}},
		}
	}
	u, err := Open(r, options(0))
	if err != nil {
		t.Fatal(err)
	}
	u.Settle(5 * time.Second)
	first := u.Endpoints()
	reload := func(n int) {
		for i := range n {
			next, err := Open(r, options(i))
			if err != nil {
				t.Fatal(err)
			}
			u.Close()
			if u = next; len(u.Endpoints()) != 2 || u.Endpoints()[0] != first[0] || u.Endpoints()[1] != first[1] {
				t.Fatalf("reload %d: %s", i, names(u))
			}
			if _, _, err := u.pick(nil, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	reload(20)
	before := runtime.NumGoroutine()
	reload(1000)
	eventually(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= before+5 })
	if len(r.groups) != 1 || len(r.endpoints) != 2 || len(r.newest) != 1 || len(r.flights) != 1 {
		t.Errorf("%d groups, %d endpoints, %d names, %d flights", len(r.groups), len(r.endpoints), len(r.newest), len(r.flights))
	}
	u.Close()
	if len(r.groups)+len(r.endpoints)+len(r.newest)+len(r.flights) != 0 {
		t.Error("something is left")
	}
}
