package main

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/node"
)

// rig is a running weir, in this process, before an origin.
func rig(t *testing.T) *stage {
	t.Helper()
	text, err := os.ReadFile("weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return before(t, string(text), nil)
}

// before starts weir with the configuration, changed by change, before an origin.
func before(t *testing.T, yaml string, change func(*config.Spec)) *stage {
	t.Helper()
	o, err := openOrigin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.close)
	yaml = strings.NewReplacer("@PORT@", "0", "@ORIGIN@", o.address()).Replace(yaml)
	log := &coretest.Buffer{}
	n, err := node.Start(node.Options{
		Load: func() (*config.Spec, error) {
			s, err := config.Parse("weir.yaml", []byte(yaml), func(string) (string, bool) { return "", false })
			if err == nil && change != nil {
				change(s)
			}
			return s, err
		},
		Log: log, Stdout: io.Discard,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Drain()
		if strings.Contains(log.String(), "panic") {
			t.Error(log.String())
		}
	})
	return &stage{address: n.Addresses()[n.Plan().Listeners[0].Key].String(), origin: o, patience: 5 * time.Second}
}

// TestRequests is the floor: every case ok, refused with the status that says why, and nobody else disturbed.
func TestRequests(t *testing.T) {
	s := rig(t)
	seen := map[string]bool{}
	n := map[verdict]int{}
	for _, k := range requests() {
		if seen[k.rule+k.name] {
			t.Errorf("two cases are called %s, %s", k.rule, k.name)
		}
		seen[k.rule+k.name] = true
		r := s.play(&k)
		n[r.verdict]++
		if r.verdict != fine {
			t.Errorf("%s: %s, %s: %s", r.verdict, r.rule, r.name, r.reason)
		}
		if k.refuse && !k.either && r.status != k.status {
			t.Errorf("%s, %s: refused with %d, want %d", k.rule, k.name, r.status, k.status)
		}
	}
	coretest.Score(t, "A1", "unsafe", float64(n[unsafe]))
	coretest.Score(t, "A2", "ok", float64(n[fine])/float64(len(seen)))
	if len(seen) < 300 {
		t.Errorf("%d cases", len(seen))
	}
}

// TestAnswers is the floor for hostile upstreams: every case ok, and no later request gets another's answer.
func TestAnswers(t *testing.T) {
	s := rig(t)
	all := hostile()
	wrong, late := 0, 0
	for i, a := range all {
		r, poisoned := s.playAnswer(&a, i)
		late += poisoned
		if r.verdict != fine {
			wrong++
		}
		if r.verdict != fine || poisoned != 0 {
			t.Errorf("%s: %s, %s: %s; %d poisoned", r.verdict, r.rule, r.name, r.reason, poisoned)
		}
	}
	coretest.Score(t, "A3", "wrong", float64(wrong))
	coretest.Score(t, "A3", "poisoned", float64(late))
	if len(all) < 40 {
		t.Errorf("%d cases", len(all))
	}
}

// TestJudge: a relay that understands nothing must be found out, on both sides.
func TestJudge(t *testing.T) {
	o, err := openOrigin()
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go relay(ln, o.address())
	s := &stage{address: ln.Addr().String(), origin: o, patience: 60 * time.Millisecond}
	n := map[verdict]int{}
	wrong := map[string]verdict{}
	for _, k := range requests() {
		if k.rule == "§2 Content-Length" || k.rule == "§2 Transfer-Encoding" || k.rule == "§3 Host" || k.rule == "§4 h2c" { // the rest takes long
			r := s.play(&k)
			n[r.verdict]++
			wrong[k.name] = r.verdict
		}
	}
	if n[unsafe] < 80 {
		t.Errorf("%v", n)
	}
	for _, name := range []string{"a length, then chunked", "two that differ", "script", "Upgrade to h2c", "userinfo"} {
		if wrong[name] != unsafe {
			t.Errorf("%s: %v", name, wrong[name])
		}
	}
	clear(n)
	poisoned := 0
	for i, a := range hostile() {
		if a.rule == "§6 surplus" || a.rule == "§6 framing" {
			r, p := s.playAnswer(&a, i)
			n[r.verdict]++
			poisoned += p
		}
	}
	if n[unsafe] < 20 || poisoned < 5 {
		t.Errorf("%v, %d poisoned", n, poisoned)
	}
}

// relay copies bytes both ways, one upstream connection for each of a client's.
func relay(ln net.Listener, to string) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			u, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer u.Close()
			go func() {
				_, _ = io.Copy(u, c)
				_ = u.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(c, u)
		}()
	}
}
