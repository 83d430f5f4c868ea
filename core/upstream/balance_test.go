package upstream

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest/alloc"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

// offline opens an upstream in which nothing happens by itself: tests call step.
func offline(t testing.TB, o Options) *Upstream {
	t.Helper()
	return open(t, RegistryOptions{Offline: true}, o)
}

func open(t testing.TB, ro RegistryOptions, o Options) *Upstream {
	t.Helper()
	r := NewRegistry(ro)
	t.Cleanup(r.Close)
	if o.Name == "" {
		o.Name = "api"
	}
	u, err := Open(r, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	return u
}

// numbered gives n endpoints with the given weights, again and again.
func numbered(n int, weights ...int) []EndpointOptions {
	out := make([]EndpointOptions, n)
	for i := range out {
		out[i].Address = fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1)
		if len(weights) > 0 {
			out[i].Weight = weights[i%len(weights)]
		}
	}
	return out
}

func session(key string) *exchange.Exchange {
	x := exchange.Acquire()
	if key != "" {
		x.Request.Header.AddString("mcp-session-id", []byte(key))
	}
	return x
}

var onSession = HashOn{Kind: HashHeader, Name: "mcp-session-id"}

// spreadOf picks n times with at most flying requests in flight, all as long as each other, and counts by endpoint.
func spreadOf(t *testing.T, u *Upstream, n, flying int) map[string]int {
	t.Helper()
	hits := map[string]int{}
	var fly []*Endpoint
	for i := range n {
		x := session(fmt.Sprint("key-", i))
		e, ticket, err := u.pick(x, nil)
		exchange.Release(x)
		if err != nil {
			t.Fatal(err)
		}
		hits[e.Name]++
		if fly = append(fly, e); len(fly) >= flying {
			u.done(fly[0], ticket, OutcomeSuccess, fault.None, 1)
			fly = fly[1:]
		}
	}
	for _, e := range fly {
		u.done(e, Ticket{}, OutcomeSuccess, fault.None, 1)
	}
	for _, e := range u.Endpoints() {
		if e.inFlight.Load() != 0 {
			t.Errorf("%d in flight", e.inFlight.Load())
		}
	}
	return hits
}

// Every way of balancing honours weights: what an endpoint gets is its share, within five standard deviations of drawing
// by lot, or within what a table of that size can do.
func TestWeights(t *testing.T) {
	const n = 40000
	for _, b := range []Balance{BalanceRoundRobin, BalanceLeastRequests, BalanceRandom, BalanceHash} {
		for _, many := range []int{2, 3, 5, 8, 12} {
			for _, flying := range []int{1, 64} {
				u := offline(t, Options{Endpoints: numbered(many, 1, 2, 5), Balance: b, Hash: onSession})
				total := 0
				for _, e := range u.group.members {
					total += int(e.weight)
				}
				hits := spreadOf(t, u, n, flying)
				for _, m := range u.group.members {
					p := float64(m.weight) / float64(total)
					most := 5*math.Sqrt(n*p*(1-p)) + 0.02*p*n
					if flying > 1 && b != BalanceHash && b != BalanceRoundRobin {
						most += 0.1 * p * n // whole requests in flight can't be shared exactly
					}
					if got := float64(hits[m.e.Name]); math.Abs(got-p*n) > most {
						t.Errorf("%d, %d endpoints, %d in flight: %s got %.0f, want %.0f ± %.0f", b, many, flying, m.e.Name, got, p*n, most)
					}
				}
			}
		}
	}
}

// An endpoint that is slow gets few requests, by the two ways that look at requests in flight.
func TestSlowEndpointIsSpared(t *testing.T) {
	for _, b := range []Balance{BalanceLeastRequests, BalanceRandom} {
		for _, many := range []int{4, 20} {
			u := offline(t, Options{Endpoints: numbered(many), Balance: b})
			slow := u.Endpoints()[1]
			hits := 0
			var fly []*Endpoint
			for range 20000 {
				e, _, err := u.pick(nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				if e == slow {
					hits++
					continue // it never answers
				}
				if fly = append(fly, e); len(fly) > 2*many {
					u.done(fly[0], Ticket{}, OutcomeSuccess, fault.None, 1)
					fly = fly[1:]
				}
			}
			if hits > 20 {
				t.Errorf("%d, %d endpoints: %d requests to the slow one", b, many, hits)
			}
		}
	}
}

// A retry goes elsewhere if there is an elsewhere.
func TestNotTheSameAgain(t *testing.T) {
	for _, b := range []Balance{BalanceRoundRobin, BalanceLeastRequests, BalanceRandom, BalanceHash} {
		u := offline(t, Options{Endpoints: numbered(2), Balance: b, Hash: onSession})
		one := offline(t, Options{Endpoints: numbered(1), Balance: b, Hash: onSession})
		first := map[*Endpoint]int{}
		for i := range 1000 {
			x := session(fmt.Sprint(i))
			e, _, _ := u.pick(x, nil)
			first[e]++
			if again, _, err := u.pick(x, e); again == e || err != nil {
				t.Fatal(b, again, err)
			}
			only := one.Endpoints()[0]
			if again, _, err := one.pick(x, only); again != only || err != nil {
				t.Fatal(b, again, err)
			}
			exchange.Release(x)
		}
		if b == BalanceRoundRobin && len(first) != 2 {
			t.Error("all first tries went to one")
		}
	}
}

func keys(n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = hash(fmt.Appendf(nil, "%08x-session-%d", i*2654435761, i))
	}
	return out
}

func (t *table) of(sum uint64) string {
	return t.names[t.slots[int(sum>>32*uint64(len(t.slots))>>32)]]
}

// When one of n endpoints leaves, or comes, few keys move but its own, and all shares stay even.
func TestTableMovesFewKeys(t *testing.T) {
	all := keys(50000)
	for _, n := range []int{2, 3, 4, 5, 10, 20, 50, 100, 200} {
		names := make([]string, n)
		weights := make([]int64, n)
		for i := range names {
			names[i], weights[i] = fmt.Sprintf("10.0.%03d.1:9000", i), 1
		}
		whole := newTable(names, weights)
		hits := map[string]int{}
		for _, k := range all {
			hits[whole.of(k)]++
		}
		for _, name := range names {
			want := float64(len(all)) / float64(n)
			if got := float64(hits[name]); math.Abs(got-want) > 0.05*want+5*math.Sqrt(want) {
				t.Errorf("%d endpoints: %s has %.0f keys, want about %.0f", n, name, got, want)
			}
		}
		worst := 0
		for out := 0; out < n; out += max(n/5, 1) {
			fewer := append(append([]string(nil), names[:out]...), names[out+1:]...)
			less := newTable(fewer, weights[1:])
			moved := 0
			for _, k := range all {
				if was := whole.of(k); was != less.of(k) {
					moved++
				}
			}
			worst = max(worst, moved)
		}
		share := float64(worst) / float64(len(all))
		t.Logf("%d endpoints: %.2f %% of the keys move, the one's own are %.2f %%", n, 100*share, 100/float64(n))
		if most := 1.1/float64(n) + 0.02; share > most {
			t.Errorf("%d endpoints: %.3f of the keys moved, want at most %.3f", n, share, most)
		}
	}
}

// The keys of an endpoint that can't be used go elsewhere, nobody else's do, and they come back.
func TestHashedKeysComeBack(t *testing.T) {
	o := Options{
		Endpoints: numbered(5), Balance: BalanceHash, Hash: onSession, Breaker: &BreakerOptions{ConsecutiveFailures: 1, OpenFor: time.Hour},
		Ejection: &EjectionOptions{ConsecutiveFailures: 1, For: time.Minute, Max: 0.5},
	}
	where := func(u *Upstream) []string {
		out := make([]string, 5000)
		for i := range out {
			x := session(fmt.Sprint("client-", i))
			e, ticket, err := u.pick(x, nil)
			if err != nil {
				t.Fatal(err)
			}
			u.done(e, ticket, OutcomeNeutral, fault.None, 1)
			out[i] = e.Name
			exchange.Release(x)
		}
		return out
	}
	same := func(what string, before, after []string, but string) {
		t.Helper()
		spread := map[string]int{}
		for i := range before {
			if before[i] != but && before[i] != after[i] {
				t.Fatalf("%s: key %d went from %s to %s", what, i, before[i], after[i])
			}
			if before[i] == but {
				spread[after[i]]++
			}
		}
		if but != "" && (spread[but] != 0 || len(spread) != 4) {
			t.Errorf("%s: its keys went to %v", what, spread)
		}
	}
	u := offline(t, o)
	before := where(u)
	second := u.Endpoints()[1]
	ticket, _ := second.admit()
	u.done(second, ticket, OutcomeFailure, fault.UpstreamReset, 1)
	same("open", before, where(u), second.Name)
	u.group.step(1000)
	if second.Usable() {
		t.Fatal("not ejected")
	}
	same("open and ejected", before, where(u), second.Name)
	second.Breaker = NewBreaker(*o.Breaker)
	same("ejected", before, where(u), second.Name)
	u.group.step(1000 + int64(time.Minute))
	same("back", before, where(u), "")
	// Another node, another order: the same keys.
	list := numbered(5)
	list[0], list[3] = list[3], list[0]
	same("order", before, where(offline(t, Options{Endpoints: list, Balance: BalanceHash, Hash: onSession})), "")
}

func TestHashOn(t *testing.T) {
	x := exchange.Acquire()
	defer exchange.Release(x)
	f := func(h HashOn, want string) {
		t.Helper()
		sum, ok := h.sum(x)
		if ok != (want != "") || ok && sum != hash([]byte(want)) {
			t.Errorf("%+v: %x, %v", h, sum, ok)
		}
	}
	f(HashOn{HashHeader, "x-key"}, "")
	f(HashOn{HashCookie, "sid"}, "")
	f(HashOn{HashIP, ""}, "")
	x.Request.Header.AddString("X-Key", nil)
	f(HashOn{HashHeader, "x-key"}, "")
	x.Request.Header.SetID(exchange.Cookie, []byte(`xsid=1;  sid="a b" ; sid=2; other`))
	f(HashOn{HashCookie, "sid"}, "a b")
	f(HashOn{HashCookie, "xsid"}, "1")
	f(HashOn{HashCookie, "id"}, "")
	f(HashOn{HashCookie, "other"}, "")
	x.Request.Header.Set("x-key", []byte("12345678901234567"))
	f(HashOn{HashHeader, "x-key"}, "12345678901234567")
	x.Client.IP = netip.MustParseAddr("192.0.2.1")
	four, _ := (&HashOn{HashIP, ""}).sum(x)
	x.Client.IP = netip.MustParseAddr("::ffff:192.0.2.1")
	if mapped, ok := (&HashOn{HashIP, ""}).sum(x); !ok || mapped != four {
		t.Error("an IPv4 address has two hashes")
	}
}

func TestSpread(t *testing.T) {
	f := func(want string, weights ...int64) {
		t.Helper()
		if got := fmt.Sprint(spread(weights)); got != want {
			t.Errorf("%v: %s, want %s", weights, got, want)
		}
	}
	f("[]")
	f("[]", 0, 0)
	f("[0]", 700)
	f("[0 1 2]", 3, 3, 3)
	f("[0 1 0 2 0]", 3, 1, 1)
	f("[1 2 1]", 0, 2, 1)
	f("[0 2]", 100, 0, 100)
	turns := spread([]int64{1, 65535, 65535 * 1000})
	counts := map[uint16]int{}
	for _, n := range turns {
		counts[n]++
	}
	if len(turns) > maxTurns+3 || counts[0] != 1 || counts[1] < 3 || counts[1] > 5 {
		t.Errorf("%d turns, %v", len(turns), counts)
	}
}

func TestPickAllocFloor(t *testing.T) {
	for name, u := range benched(t) {
		x := session("0123456789abcdef")
		t.Run(name, func(t *testing.T) { alloc.Floor(t, func() { pickOnce(t, u, x) }) })
		exchange.Release(x)
	}
}

func benched(t testing.TB) map[string]*Upstream {
	out := map[string]*Upstream{}
	for name, b := range map[string]Balance{"turn": BalanceRoundRobin, "least": BalanceLeastRequests, "random": BalanceRandom, "hash": BalanceHash} {
		for _, n := range []int{3, 30} {
			out[fmt.Sprint(name, "/", n)] = offline(t, Options{
				Endpoints: numbered(n), Balance: b, Hash: onSession, Breaker: &BreakerOptions{}, Ejection: &EjectionOptions{Max: 0.5},
			})
		}
	}
	return out
}

func pickOnce(t testing.TB, u *Upstream, x *exchange.Exchange) {
	e, ticket, err := u.pick(x, nil)
	if err != nil {
		t.Fatal(err)
	}
	u.done(e, ticket, OutcomeSuccess, fault.None, 1)
}

func BenchmarkPick(b *testing.B) {
	for name, u := range benched(b) {
		b.Run(name, func(b *testing.B) {
			x := session("0123456789abcdef")
			defer exchange.Release(x)
			b.ReportAllocs()
			for b.Loop() {
				pickOnce(b, u, x)
			}
		})
	}
}

func BenchmarkTable(b *testing.B) {
	for _, n := range []int{3, 100, 1000} {
		names, weights := make([]string, n), make([]int64, n)
		for i := range names {
			names[i], weights[i] = fmt.Sprintf("%04d", i), rand.Int64N(5)+1
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				newTable(names, weights)
			}
		})
	}
}
