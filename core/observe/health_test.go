package observe

import (
	"sync"
	"testing"
)

func TestHealth(t *testing.T) {
	var h Health
	f := func(want string, wantStatus int) {
		t.Helper()
		body, status := h.AppendReady([]byte("> "))
		if string(body) != "> "+want || status != wantStatus {
			t.Errorf("got %d %s", status, body)
		}
	}
	if got := string(h.AppendHealth(nil)); got != `{"status":"healthy"}` {
		t.Error(got)
	}
	f(`{"status":"ready","checks":{}}`, 200)
	ok := true
	h.Register("redis", func() (bool, string) { return ok, "a \"quoted\" detail" })
	h.Register("config", func() (bool, string) { return true, "" })
	f(`{"status":"ready","checks":{"config":{"status":"ok"},"redis":{"status":"ok","detail":"a \"quoted\" detail"}}}`, 200)
	ok = false
	f(`{"status":"not_ready","checks":{"config":{"status":"ok"},"redis":{"status":"failed","detail":"a \"quoted\" detail"}}}`, 503)
	// one of the same name takes its place
	h.Register("redis", func() (bool, string) { return true, "" })
	h.SetDraining(true)
	f(`{"status":"not_ready","checks":{"config":{"status":"ok"},"drain":{"status":"failed","detail":"draining"},"redis":{"status":"ok"}}}`, 503)
	if !h.Draining() {
		t.Error("not draining")
	}
	h.SetDraining(false)
	h.Remove("redis")
	h.Remove("nothing")
	f(`{"status":"ready","checks":{"config":{"status":"ok"}}}`, 200)
}

func TestHealthHammer(t *testing.T) {
	var h Health
	var g sync.WaitGroup
	for range 4 {
		g.Go(func() {
			for range 500 {
				h.Register("x", func() (bool, string) { return true, "" })
				h.AppendReady(nil)
				h.SetDraining(true)
				h.Remove("x")
			}
		})
	}
	g.Wait()
}
