package main

import (
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// TestListenerChanges moves a listener from one address to another, again and again, while the other one is under load:
// no connection to the one that stays is refused or reset.
func TestListenerChanges(t *testing.T) {
	const times = 100
	dir, stays, path := t.TempDir(), freeAddress(t), filepath.Join(t.TempDir(), "stays")
	moving := []string{freeAddress(t), freeAddress(t)}
	text := func(i int) string {
		return `version: 1
access_log: {output: "off"}
listeners: [{address: "` + stays + `"}, {address: "` + moving[i%2] + `"}, {address: "unix:` + path + `"}]
routes: [{match: {path: /*}, auth: none, respond: {body: ok}}]
`
	}
	c := newChain(t, dir, text(0))
	c.await("weir serves", func() bool { return strings.Contains(c.log(), `"message":"serving"`) })
	stop := make(chan struct{})
	var load sync.WaitGroup
	var requests atomic.Int64
	for _, to := range [][2]string{{"tcp", stays}, {"tcp", stays}, {"unix", path}} {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				requests.Add(1)
				if err := askOnce(to[0], to[1], "/"); err != nil {
					t.Errorf("%v; and again: %v\n%s", err, askOnce(to[0], to[1], "/"), c.log())
					return
				}
			}
		})
	}
	for i := range times {
		writeFile(t, c.config, text(i+1))
		c.signal(syscall.SIGHUP)
		c.await("the reload is done", func() bool { return strings.Count(c.log(), `"message":"reloaded"`) == i+1 })
		if !listens(moving[(i+1)%2]) || listens(moving[i%2]) {
			t.Fatalf("change %d: not moved\n%s", i, c.log())
		}
	}
	close(stop)
	load.Wait()
	t.Logf("%d changes, %d connections", times, requests.Load())
}
