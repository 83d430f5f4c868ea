package upstream

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/fault"
)

// dnsServer answers over UDP on loopback.
type dnsServer struct {
	conn net.PacketConn

	mu      sync.Mutex
	ips     map[string][]netip.Addr // by lower-case name with the dot at its end
	srv     map[string][]net.SRV
	code    dnsmessage.RCode // what all are answered, if not success
	silent  bool             // asked, it says nothing
	queries int
}

func startDNS(t *testing.T) *dnsServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dnsServer{conn: conn, ips: map[string][]netip.Addr{}, srv: map[string][]net.SRV{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serve()
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return s
}

// resolver asks s. It ends what it does with its context, as that of the library does some seconds later.
func (s *dnsServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "udp", s.conn.LocalAddr().String())
		if err == nil {
			context.AfterFunc(ctx, func() { c.Close() })
		}
		return c, err
	}}
}

// set changes something, all at once.
func (s *dnsServer) set(f func(*dnsServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// host says which addresses api.test. has, or another name before a colon.
func (s *dnsServer) host(name string, ips ...string) {
	s.set(func(s *dnsServer) {
		var list []netip.Addr
		for _, ip := range ips {
			list = append(list, netip.MustParseAddr(ip))
		}
		s.ips[name+"."] = list
	})
}

func (s *dnsServer) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries
}

func (s *dnsServer) serve() {
	buf := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		if answer := s.answer(&m); answer != nil {
			_, _ = s.conn.WriteTo(answer, from)
		}
	}
}

func (s *dnsServer) answer(m *dnsmessage.Message) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries++
	if s.silent {
		return nil
	}
	q := m.Questions[0]
	name := strings.ToLower(q.Name.String())
	ips, isHost := s.ips[name]
	records, isService := s.srv[name]
	m.Response, m.Authoritative, m.RCode, m.Additionals = true, true, s.code, nil
	if s.code == dnsmessage.RCodeSuccess && !isHost && !isService {
		m.RCode = dnsmessage.RCodeNameError
	}
	if m.RCode == dnsmessage.RCodeSuccess {
		add := func(b dnsmessage.ResourceBody) {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}, Body: b})
		}
		for _, ip := range ips {
			switch {
			case q.Type == dnsmessage.TypeA && ip.Is4():
				add(&dnsmessage.AResource{A: ip.As4()})
			case q.Type == dnsmessage.TypeAAAA && ip.Is6():
				add(&dnsmessage.AAAAResource{AAAA: ip.As16()})
			}
		}
		for _, r := range records {
			if q.Type == dnsmessage.TypeSRV {
				add(&dnsmessage.SRVResource{Priority: r.Priority, Weight: r.Weight, Port: r.Port, Target: dnsmessage.MustNewName(r.Target)})
			}
		}
	}
	out, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return out
}

// names gives what u's endpoints are called.
func names(u *Upstream) string {
	var all []string
	for _, e := range u.Endpoints() {
		all = append(all, e.Name)
	}
	return strings.Join(all, ", ")
}

func wantNames(t *testing.T, u *Upstream, want string) {
	t.Helper()
	eventually(t, want, func() bool { return names(u) == want })
}

func TestNameHasManyEndpoints(t *testing.T) {
	dns := startDNS(t)
	dns.host("api.test", "10.0.0.2", "10.0.0.1", "10.0.0.2")
	var mu sync.Mutex
	var events []Event
	r := NewRegistry(RegistryOptions{Resolver: dns.resolver(), Event: func(e Event) {
		mu.Lock()
		events = append(events, e)
		mu.Unlock()
	}})
	defer r.Close()
	o := Options{
		Name: "api", Endpoints: []EndpointOptions{{Address: "api.test:9000", Host: "api.test:9000", Weight: 3}, {Address: "10.9.9.9:80"}},
		Resolve: 20 * time.Millisecond, Breaker: &BreakerOptions{ConsecutiveFailures: 1, OpenFor: time.Hour},
	}
	u, err := Open(r, o)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.Settle(5 * time.Second)
	const two = "api.test:9000 (10.0.0.1), api.test:9000 (10.0.0.2), 10.9.9.9:80"
	if names(u) != two {
		t.Fatalf("after Settle: %s", names(u))
	}
	first := u.Endpoints()[0]
	if first.options.Address != "10.0.0.1:9000" || string(first.Host) != "api.test:9000" {
		t.Errorf("%+v", first.options)
	}
	hits := map[string]int{}
	for range 70 {
		e, ticket, err := u.pick(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		u.done(e, ticket, OutcomeSuccess, fault.None, clock.Nano())
		hits[e.options.Address]++
	}
	if hits["10.0.0.1:9000"] != 30 || hits["10.0.0.2:9000"] != 30 || hits["10.9.9.9:80"] != 10 {
		t.Errorf("%v", hits)
	}
	// One breaker opens; it stays open, of the endpoint that stays.
	ticket, _ := first.admit()
	u.done(first, ticket, OutcomeFailure, fault.ConnectFailed, clock.Nano())
	dns.host("api.test", "10.0.0.1", "10.0.0.3")
	const three = "api.test:9000 (10.0.0.1), api.test:9000 (10.0.0.3), 10.9.9.9:80"
	wantNames(t, u, three)
	if e := u.Endpoints()[0]; e != first || e.Breaker.State() != BreakerOpen {
		t.Error("the endpoint that stayed lost its state")
	}
	// Nothing that happens to DNS takes the endpoints away.
	for what, change := range map[string]func(*dnsServer){
		"failing":  func(s *dnsServer) { s.code = dnsmessage.RCodeServerFailure },
		"refusing": func(s *dnsServer) { s.code = dnsmessage.RCodeRefused },
		"no name":  func(s *dnsServer) { s.code = dnsmessage.RCodeNameError },
		"empty":    func(s *dnsServer) { s.ips["api.test."] = nil },
	} {
		before := dns.asked()
		dns.set(change)
		eventually(t, what, func() bool { return dns.asked() > before+8 })
		if names(u) != three {
			t.Errorf("%s: %s", what, names(u))
		}
		eventually(t, what+" is shown", func() bool { return len(u.Status().Problems) == 1 })
		dns.set(func(s *dnsServer) { s.code = 0 })
		dns.host("api.test", "10.0.0.1", "10.0.0.3")
		eventually(t, what+" is over", func() bool { return len(u.Status().Problems) == 0 })
	}
	// Another configuration with DNS away, as at a reload, has the addresses too.
	dns.set(func(s *dnsServer) { s.silent = true })
	before := dns.asked()
	eventually(t, "silent", func() bool { return dns.asked() > before })
	o.SlowStart = time.Minute
	next, err := Open(r, o)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if names(next) != three || next.Endpoints()[0] != first || next.Status().Endpoints[0].Share != 1 {
		t.Errorf("after a reload: %s, %+v", names(next), next.Status())
	}
	mu.Lock()
	defer mu.Unlock()
	bad := 0
	for _, e := range events {
		if e.Bad {
			bad++
		}
	}
	if bad != 4 {
		t.Errorf("%d events for 4 failures: %v", bad, events)
	}
}

func TestNameThatIsNotThereYet(t *testing.T) {
	dns := startDNS(t)
	u := open(t, RegistryOptions{Resolver: dns.resolver()}, Options{
		Endpoints: []EndpointOptions{{Address: "late.test:80"}}, Resolve: 20 * time.Millisecond,
	})
	u.Settle(5 * time.Second)
	if _, _, err := u.pick(nil, nil); err != errUnknown || u.Ready() {
		t.Errorf("%v, ready: %v", err, u.Ready())
	}
	dns.host("late.test", "10.0.0.1")
	wantNames(t, u, "late.test:80 (10.0.0.1)")
	if _, _, err := u.pick(nil, nil); err != nil || !u.Ready() {
		t.Errorf("%v, ready: %v", err, u.Ready())
	}
}

// Closing ends lookups under way: nobody waits for a server that says nothing. TestMain sees to the goroutines.
func TestCloseWhileAsking(t *testing.T) {
	dns := startDNS(t)
	dns.set(func(s *dnsServer) { s.silent = true })
	r := NewRegistry(RegistryOptions{Resolver: dns.resolver()})
	u, err := Open(r, Options{Name: "api", Endpoints: []EndpointOptions{{Address: "silent.test:80"}}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "asked", func() bool { return dns.asked() > 0 })
	begin := time.Now()
	u.Close()
	r.Close()
	u.group.mu.Lock()
	defer u.group.mu.Unlock()
	if u.group.looking != 0 {
		t.Error("closed before the lookup had ended")
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("closing took %v", took)
	}
}

// Of a name with addresses of both families those are used that can be connected to, and others when that changes.
func TestBothFamilies(t *testing.T) {
	dns := startDNS(t)
	dns.host("both.test", "::1", "127.0.0.1")
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	u := open(t, RegistryOptions{Resolver: dns.resolver()}, Options{
		Endpoints: []EndpointOptions{{Address: "both.test:" + port}}, Resolve: 20 * time.Millisecond,
	})
	four, six := "both.test:"+port+" (127.0.0.1)", "both.test:"+port+" (::1)"
	wantNames(t, u, four)
	before := dns.asked()
	eventually(t, "asked again", func() bool { return dns.asked() > before+6 })
	if names(u) != four {
		t.Error(names(u))
	}
	ln.Close()
	ln6, err := net.Listen("tcp6", "[::1]:"+port)
	if err != nil {
		t.Logf("no IPv6 here: %v", err)
		return
	}
	defer ln6.Close()
	if names(u) != four {
		t.Error("changed without need")
	}
	fail(u, u.Endpoints()[0], 1)
	wantNames(t, u, six)
	if both := u.group.set.Load().all; len(both) != 1 {
		t.Error(both)
	}
}

func TestSRV(t *testing.T) {
	dns := startDNS(t)
	dns.host("a.test", "10.0.0.1", "10.0.0.2")
	dns.host("b.test", "10.0.1.1")
	dns.host("c.test", "10.0.2.1")
	dns.set(func(s *dnsServer) {
		s.srv["_api._tcp.test."] = []net.SRV{
			{Target: "c.test.", Port: 82, Priority: 20, Weight: 0},
			{Target: "b.test.", Port: 81, Priority: 10, Weight: 40},
			{Target: "a.test.", Port: 80, Priority: 10, Weight: 10},
		}
	})
	u := open(t, RegistryOptions{Resolver: dns.resolver()}, Options{
		Endpoints: []EndpointOptions{{Address: "_api._tcp.test", SRV: true, Host: "test"}}, Resolve: 20 * time.Millisecond,
		Ejection: &EjectionOptions{ConsecutiveFailures: 1, For: time.Hour, Max: 1}, PanicThreshold: 0.5,
		Breaker: &BreakerOptions{ConsecutiveFailures: 3, OpenFor: time.Hour},
	})
	const all = "a.test:80 (10.0.0.1), a.test:80 (10.0.0.2), b.test:81 (10.0.1.1), c.test:82 (10.0.2.1)"
	wantNames(t, u, all)
	f := func(want string) {
		t.Helper()
		hits := map[string]int{}
		for range 60 {
			e, ticket, err := u.pick(nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			hits[e.options.Address]++
			u.done(e, ticket, OutcomeNeutral, fault.ClientGone, 1)
		}
		var got []string
		for _, a := range []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.1.1:81", "10.0.2.1:82"} {
			got = append(got, strconv.Itoa(hits[a]))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s, want %s", strings.Join(got, " "), want)
		}
	}
	f("10 10 40 0")
	if e := u.Endpoints()[2]; string(e.Host) != "test" {
		t.Errorf("Host %q", e.Host)
	}
	// One of three is out: enough are left of the first priority.
	ejectNow := func(i int) {
		t.Helper()
		fail(u, u.Endpoints()[i], 1)
		eventually(t, "ejected", func() bool { return !u.Endpoints()[i].Usable() })
		eventually(t, "seen", func() bool { return u.Status().Endpoints[i].EjectedFor > 0 })
	}
	ejectNow(2)
	f("30 30 0 0")
	// Two of three: the second priority is better than a panic.
	ejectNow(1)
	f("0 0 0 60")
	if u.Panics() {
		t.Error("panic")
	}
	// A name in a record that can't be resolved any more keeps its addresses.
	dns.set(func(s *dnsServer) { delete(s.ips, "a.test.") })
	eventually(t, "told", func() bool {
		return slices.ContainsFunc(u.Status().Problems, func(p string) bool { return strings.Contains(p, "a.test") })
	})
	if names(u) != all {
		t.Error(names(u))
	}
	// A record that goes takes its endpoints along.
	dns.set(func(s *dnsServer) { s.srv["_api._tcp.test."] = s.srv["_api._tcp.test."][:2] })
	wantNames(t, u, "b.test:81 (10.0.1.1), c.test:82 (10.0.2.1)")
	dns.set(func(s *dnsServer) { s.srv["_api._tcp.test."] = []net.SRV{{Target: "."}} })
	before := dns.asked()
	eventually(t, "asked", func() bool { return dns.asked() > before+3 })
	wantNames(t, u, "b.test:81 (10.0.1.1), c.test:82 (10.0.2.1)")
}

// Endpoints that stand by are taken when all breakers before them are open.
func TestStandbyBehindBreakers(t *testing.T) {
	dns := startDNS(t)
	dns.host("a.test", "10.0.0.1")
	dns.host("b.test", "10.0.0.2")
	dns.set(func(s *dnsServer) {
		s.srv["_api._tcp.test."] = []net.SRV{{Target: "a.test.", Port: 80, Priority: 1}, {Target: "b.test.", Port: 80, Priority: 2}}
	})
	u := open(t, RegistryOptions{Resolver: dns.resolver()}, Options{
		Endpoints: []EndpointOptions{{Address: "_api._tcp.test", SRV: true}}, Breaker: &BreakerOptions{ConsecutiveFailures: 1, OpenFor: time.Hour},
	})
	u.Settle(5 * time.Second)
	for _, want := range []string{"10.0.0.1:80", "10.0.0.2:80", ""} {
		e, ticket, err := u.pick(nil, nil)
		if want == "" {
			if err != errOpen {
				t.Error(err)
			}
			return
		}
		if err != nil || e.options.Address != want {
			t.Fatal(e, err)
		}
		u.done(e, ticket, OutcomeFailure, fault.UpstreamReset, clock.Nano())
	}
}
