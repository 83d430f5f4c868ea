package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// sick is a server whose health the test decides.
type sick struct {
	*httptest.Server
	status atomic.Int64
	checks atomic.Int64
	at     sync.Map // of checks, by number
}

func startSick(t testing.TB, status int) *sick {
	s := &sick{}
	s.status.Store(int64(status))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" || r.URL.Path != "/health" || r.URL.RawQuery != "deep=1" || r.Host != "api.example" || !r.Close {
			t.Errorf("%s %s of %q, close: %v", r.Method, r.URL, r.Host, r.Close)
		}
		s.at.Store(s.checks.Add(1), time.Now())
		w.WriteHeader(int(s.status.Load()))
		fmt.Fprint(w, strings.Repeat("all is well ", 1000))
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *sick) options() EndpointOptions {
	return EndpointOptions{Address: s.Listener.Addr().String(), Host: "api.example"}
}

var quickly = HealthOptions{Path: "/health?deep=1", Interval: 20 * time.Millisecond, Timeout: time.Second, Healthy: 2, Unhealthy: 3}

// healthOf has a letter for each endpoint: h, u, or ? while nothing is known.
func healthOf(u *Upstream) string {
	s := ""
	for _, e := range u.Status().Endpoints {
		s += map[string]string{"healthy": "h", "unhealthy": "u", "unknown": "?"}[e.Health]
	}
	return s
}

func TestHealthChecks(t *testing.T) {
	a, b := startSick(t, 200), startSick(t, 302)
	u := open(t, RegistryOptions{}, Options{Endpoints: []EndpointOptions{a.options(), b.options()}, Health: &quickly})
	f := func(status int64, health, usable string) {
		t.Helper()
		b.status.Store(status)
		eventually(t, fmt.Sprint(status, " ", health), func() bool { return healthOf(u) == health && out(u) == usable })
		for range 10 {
			if e, _, err := u.pick(nil, nil); err != nil || usable == "1" && e != u.Endpoints()[0] {
				t.Error(e, err)
			}
		}
	}
	f(302, "hh", "")
	if !u.Ready() {
		t.Error("not ready")
	}
	f(503, "hu", "1")
	if s := u.Status().Endpoints[1]; s.Reason != "status 503" {
		t.Errorf("%+v", s)
	}
	f(204, "hh", "")
	f(404, "hu", "1")
	f(399, "hh", "")
	b.CloseClientConnections()
	b.Listener.Close()
	f(0, "hu", "1")
}

// A reload of the same configuration checks no more often; one of another goes on with the verdicts.
func TestHealthOverReloads(t *testing.T) {
	a, b := startSick(t, 200), startSick(t, 500)
	r := NewRegistry(RegistryOptions{})
	defer r.Close()
	o := Options{Name: "api", Endpoints: []EndpointOptions{a.options(), b.options()}, Health: &quickly}
	u, err := Open(r, o)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "judged", func() bool { return healthOf(u) == "hu" })
	for range 100 {
		next, err := Open(r, o)
		if err != nil {
			t.Fatal(err)
		}
		u.Close()
		if u = next; healthOf(u) != "hu" || out(u) != "1" {
			t.Fatal(healthOf(u), out(u))
		}
	}
	o.SlowStart = time.Second // of another configuration, too
	next, err := Open(r, o)
	if err != nil {
		t.Fatal(err)
	}
	u.Close()
	if u = next; healthOf(u) != "hu" || out(u) != "1" {
		t.Fatal(healthOf(u), out(u))
	}
	b.checks.Store(0)
	begin := time.Now()
	eventually(t, "20 checks", func() bool { return b.checks.Load() >= 20 })
	if took := time.Since(begin); took < 20*15*time.Millisecond {
		t.Errorf("20 checks in %v", took)
	}
	slow := quickly
	slow.Interval, slow.Healthy = time.Hour, 5
	o.Health = &slow
	if next, err = Open(r, o); err != nil {
		t.Fatal(err)
	}
	u.Close()
	defer next.Close()
	if healthOf(next) != "hu" {
		t.Error(healthOf(next))
	}
	// Under the new policy the first answer, which comes at once, may change the verdict of the old.
	b.status.Store(200)
	n := slow
	n.Unhealthy = 9
	o.Health = &n
	last, err := Open(r, o)
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	eventually(t, "healthy", func() bool { return healthOf(last) == "hh" })
}

// One that joins gets requests when it has passed its first check, and then slowly; unless there is nobody else.
func TestJoiningWaitsForCheck(t *testing.T) {
	a, b, c := startSick(t, 200), startSick(t, 200), startSick(t, 500)
	u := open(t, RegistryOptions{}, Options{Endpoints: []EndpointOptions{a.options()}, Health: &quickly, SlowStart: time.Hour, PanicThreshold: 0.9})
	eventually(t, "healthy", func() bool { return healthOf(u) == "h" })
	g := u.group
	g.setOverride(newTargets([]EndpointOptions{a.options(), b.options(), c.options()}, FromOperator))
	first := u.Endpoints()[0]
	if e, _, err := u.pick(nil, nil); e != first || err != nil || u.Panics() {
		t.Error(e, err)
	}
	eventually(t, "judged", func() bool { return healthOf(u) == "hhu" })
	if s := u.Status().Endpoints; s[0].Share != 1 || s[1].Share > 0.2 || !s[1].Usable || s[2].Usable {
		t.Errorf("%+v", s)
	}
	g.setOverride(newTargets([]EndpointOptions{c.options()}, FromOperator))
	d := startSick(t, 200)
	g.setOverride(newTargets([]EndpointOptions{d.options()}, FromOperator))
	if e, _, err := u.pick(nil, nil); err != nil || e.Name != d.options().Address {
		t.Error("all are new, and none is used: ", err)
	}
}

// Checks are spread: a fifth more or less around the interval, and endpoints do not go in step.
func TestChecksAreJittered(t *testing.T) {
	a := startSick(t, 200)
	o := quickly
	o.Interval = 50 * time.Millisecond
	open(t, RegistryOptions{}, Options{Endpoints: []EndpointOptions{a.options()}, Health: &o})
	eventually(t, "30 checks", func() bool { return a.checks.Load() >= 30 })
	var gaps []time.Duration
	for i := int64(2); i < 30; i++ {
		before, _ := a.at.Load(i - 1)
		now, _ := a.at.Load(i)
		gaps = append(gaps, now.(time.Time).Sub(before.(time.Time)))
	}
	var sum time.Duration
	differ := 0
	for i, g := range gaps {
		sum += g
		if i > 0 && (g-gaps[i-1]).Abs() > 2*time.Millisecond {
			differ++
		}
	}
	if mean := sum / time.Duration(len(gaps)); mean < 40*time.Millisecond || differ < len(gaps)/2 {
		t.Errorf("mean %v, %d of %d differ: %v", mean, differ, len(gaps), gaps)
	}
}

// All kinds of answers that are none.
func TestCheck(t *testing.T) {
	f := func(answer string, want string) {
		t.Helper()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			br := bufio.NewReader(c)
			for line := ""; line != "\r\n"; {
				if line, err = br.ReadString('\n'); err != nil {
					return
				}
			}
			if answer == "reset" {
				_ = c.(*net.TCPConn).SetLinger(0)
				return
			}
			fmt.Fprint(c, answer)
			if !strings.HasPrefix(answer, "HTTP/1.1 200") {
				_, _ = io.Copy(io.Discard, c) // until the check gives up
			}
		})
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		e := &Endpoint{options: EndpointOptions{Address: ln.Addr().String()}}
		err = e.check(ctx, "/")
		if got := fmt.Sprint(err); !strings.Contains(got, want) {
			t.Errorf("%.40q: %s, want %s", answer, got, want)
		}
		ln.Close()
	}
	f("HTTP/1.1 200 OK\r\n\r\n", "<nil>")
	f("HTTP/1.0 204\r\n\r\n", "<nil>")
	f("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "<nil>")
	f("HTTP/1.1 199 Odd\r\n\r\nHTTP/1.1 500 No\r\n\r\n", "status 500")
	f("HTTP/1.1 400 Bad\r\n\r\n", "status 400")
	f("HTTP/2 200\r\n\r\n", "not an answer")
	f("SSH-2.0-OpenSSH_9.6\r\n", "not an answer")
	f("HTTP/1.1 2\r\n\r\n", "not an answer")
	f("", "no answer in time")
	f("HTTP/1.1 20", "no answer in time")
	f("reset", "reset")
	f(strings.Repeat("x", 10000), "buffer full")
	f(strings.Repeat("HTTP/1.1 103 E\r\n\r\n", 200), "too many 1xx")
	if err := (&Endpoint{options: EndpointOptions{Address: "127.0.0.1:1"}}).check(t.Context(), "/"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
}

// A check of an https endpoint verifies it as requests do.
func TestCheckOverTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			w.WriteHeader(500)
		}
	}))
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	good := &tls.Config{RootCAs: pool, ServerName: "example.com", NextProtos: []string{"http/1.1"}}
	f := func(c *tls.Config, want string) {
		t.Helper()
		e := &Endpoint{options: EndpointOptions{Address: s.Listener.Addr().String(), TLS: c}}
		if err := e.check(t.Context(), "/"); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	f(good, "<nil>")
	f(&tls.Config{ServerName: "example.com"}, "certificate")
	f(&tls.Config{RootCAs: pool, ServerName: "other.example"}, "other.example")
}

// A check speaks the protocol of its endpoint, and says after the PROXY protocol that it is nobody's request.
func TestCheckInHTTP2(t *testing.T) {
	var status atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Host != "api.example" || r.URL.String() != "/health?deep=1" {
			t.Errorf("%s %s of %s", r.Proto, r.URL, r.Host)
		}
		w.WriteHeader(103)
		if status.Load() == 0 {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(int(status.Load()))
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	e := &Endpoint{
		options: EndpointOptions{
			Address: s.Listener.Addr().String(), Host: "api.example",
			TLS: &tls.Config{RootCAs: pool, ServerName: "example.com", NextProtos: []string{"h2"}},
		},
		transport: Transport{Protocol: HTTP2}.withDefaults(),
	}
	for n, want := range map[int64]string{200: "<nil>", 302: "<nil>", 503: "status 503", 0: "no answer in time"} {
		status.Store(n)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if err := e.check(ctx, "/health?deep=1"); fmt.Sprint(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
		cancel()
	}
}

// A check that ends for want of time ends nothing besides: what it was made of serves others at once.
func TestLateChecksEndAlone(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Protocols: &http.Protocols{}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			<-r.Context().Done()
		}
	})}
	s.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = s.Serve(ln) }()
	defer s.Close()
	e := &Endpoint{options: EndpointOptions{Address: ln.Addr().String()}, transport: Transport{Protocol: HTTP2}.withDefaults()}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 40 {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
				if err := e.check(ctx, "/late"); fmt.Sprint(err) != "no answer in time" {
					t.Error(err)
				}
				cancel()
				if err := e.check(t.Context(), "/"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestCheckWithProxyProtocol(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for version, want := range map[ProxyProtocol]string{ProxyV1: "PROXY UNKNOWN\r\nGET / ", ProxyV2: "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00GET / "} {
		got := make(chan string, 1)
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			b := make([]byte, len(want))
			_, _ = io.ReadFull(c, b)
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
			got <- string(b)
		}()
		e := &Endpoint{options: EndpointOptions{Address: ln.Addr().String()}, transport: Transport{ProxyProtocol: version}}
		if err := e.check(t.Context(), "/"); err != nil {
			t.Error(err)
		}
		if b := <-got; b != want {
			t.Errorf("version %d: %q", version, b)
		}
	}
}
