package upstream

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/fault"
)

// fail sends e n requests that fail.
func fail(u *Upstream, e *Endpoint, n int) {
	for range n {
		e.inFlight.Add(1)
		u.done(e, Ticket{}, OutcomeFailure, fault.UpstreamReset, 1)
	}
}

// out lists which endpoints are not usable.
func out(u *Upstream) string {
	s := ""
	for i, e := range u.Endpoints() {
		if !e.Usable() {
			s += fmt.Sprint(i)
		}
	}
	return s
}

func TestEjection(t *testing.T) {
	u := offline(t, Options{Endpoints: numbered(4), Ejection: &EjectionOptions{ConsecutiveFailures: 3, For: 10 * time.Second, Max: 0.5}})
	all := u.Endpoints()
	now := clock.Nano()
	at := func(d time.Duration, want string) {
		t.Helper()
		now += int64(d)
		u.group.step(now)
		if got := out(u); got != want {
			t.Errorf("out: %q, want %q", got, want)
		}
	}
	fail(u, all[1], 2)
	at(0, "")
	all[1].inFlight.Add(1)
	u.done(all[1], Ticket{}, OutcomeSuccess, fault.None, 1) // not in a row
	fail(u, all[1], 2)
	at(0, "")
	fail(u, all[1], 1)
	at(0, "1")
	at(9*time.Second, "1")
	at(time.Second, "")
	// The second time in a row it is out for twice as long, and so on.
	fail(u, all[1], 3)
	at(time.Second, "1")
	at(19*time.Second, "1")
	at(time.Second, "")
	fail(u, all[1], 3)
	at(0, "1")
	at(29*time.Second, "1")
	at(time.Second, "")
	// After it has been in for as long as it was out, it begins anew.
	at(30*time.Second, "")
	fail(u, all[1], 3)
	at(0, "1")
	at(10*time.Second, "")
	// No more than half of them are out; the third follows when one is back.
	at(time.Minute, "")
	for i := range 3 {
		fail(u, all[i], 3)
		at(time.Second, []string{"0", "01", "01"}[i])
	}
	at(8*time.Second, "12")
	at(time.Second, "2")
	hits := map[*Endpoint]int{}
	for range 300 {
		e, _, err := u.pick(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		hits[e]++
	}
	if hits[all[2]] != 0 || hits[all[0]] != 100 {
		t.Errorf("%v", hits)
	}
}

// When endpoints leave, fewer of the others may be out.
func TestEjectedComeBackWhenOthersLeave(t *testing.T) {
	u := offline(t, Options{Endpoints: numbered(4), Ejection: &EjectionOptions{ConsecutiveFailures: 1, For: time.Hour, Max: 0.5}})
	now := clock.Nano()
	for i := range 2 {
		fail(u, u.Endpoints()[i], 1)
		now += int64(time.Second)
		u.group.step(now)
	}
	if out(u) != "01" {
		t.Fatal(out(u))
	}
	u.group.setOverride(newTargets(numbered(3), FromOperator))
	if out(u) != "1" {
		t.Errorf("of three are out: %q", out(u))
	}
	u.group.setOverride(newTargets(numbered(2)[1:], FromOperator))
	if out(u) != "" {
		t.Errorf("of one are out: %q", out(u))
	}
}

func TestEjectionGrowsToTenTimes(t *testing.T) {
	u := offline(t, Options{Endpoints: numbered(2), Ejection: &EjectionOptions{ConsecutiveFailures: 1, For: time.Second, Max: 0.5}})
	now := clock.Nano()
	for n := 1; n < 15; n++ {
		fail(u, u.Endpoints()[0], 1)
		u.group.step(now)
		if left := u.group.members[0].eject.until - now; left != int64(min(n, 10))*int64(time.Second) {
			t.Errorf("ejection %d is for %v", n, time.Duration(left))
		}
		now = u.group.members[0].eject.until
		u.group.step(now)
	}
}

// The last usable endpoint stays unless all may go.
func TestLastOneStays(t *testing.T) {
	f := func(n int, most float64, sick bool, want string) {
		t.Helper()
		u := offline(t, Options{
			Endpoints: numbered(n), Ejection: &EjectionOptions{ConsecutiveFailures: 1, Max: most}, Health: &HealthOptions{Path: "/"},
		})
		g := u.group
		if sick {
			g.mu.Lock()
			for range 3 {
				g.judge(g.members[n-1], errors.New("sick"), 1)
			}
			g.publish(1)
			g.mu.Unlock()
		}
		for _, e := range u.Endpoints() {
			fail(u, e, 1)
		}
		g.step(clock.Nano())
		if got := out(u); got != want {
			t.Errorf("%d endpoints, max %v: out %q, want %q", n, most, got, want)
		}
	}
	f(1, 0.5, false, "")
	f(1, 0.99, false, "")
	f(1, 1, false, "0")
	f(2, 0.5, false, "0")
	f(3, 0.99, false, "01")
	f(3, 1, false, "012")
	f(3, 0.1, false, "")
	f(3, 0, false, "")
	f(2, 0.5, true, "1")
	f(3, 0.9, true, "02")
	f(2, 1, true, "01")
}

func TestPanicThreshold(t *testing.T) {
	f := func(threshold float64, n, sick int, panics bool, err error, picked int) {
		t.Helper()
		var events []string
		u := open(t, RegistryOptions{Offline: true, Event: func(e Event) {
			if e.Endpoint == "" {
				events = append(events, e.Text)
			}
		}}, Options{Endpoints: numbered(n), Health: &HealthOptions{Path: "/", Unhealthy: 1, Healthy: 1}, PanicThreshold: threshold})
		g := u.group
		set := func(err error) {
			g.mu.Lock()
			for _, m := range g.members[:sick] {
				g.judge(m, err, 1)
			}
			g.publish(1)
			g.mu.Unlock()
		}
		set(errors.New("sick"))
		seen := map[*Endpoint]bool{}
		for range 4 * n {
			e, _, got := u.pick(nil, nil)
			if got != err || got != nil && fault.KindOf(got) != fault.NoEndpoint {
				t.Errorf("%d of %d sick, threshold %v: %v", sick, n, threshold, got)
			}
			seen[e] = true
		}
		if u.Panics() != panics || err == nil && len(seen) != picked || panics != (len(events) == 1) {
			t.Errorf("%d of %d sick, threshold %v: panics %v, %d picked, %q", sick, n, threshold, u.Panics(), len(seen), events)
		}
		set(nil)
		if u.Panics() || panics != (len(events) == 2) {
			t.Errorf("still in panic: %q", events)
		}
	}
	f(0.5, 4, 0, false, nil, 4)
	f(0.5, 4, 2, false, nil, 2)
	f(0.5, 4, 3, true, nil, 4)
	f(0.5, 4, 4, true, nil, 4)
	f(0.5, 1, 1, true, nil, 1)
	f(0, 4, 3, false, nil, 1)
	f(0, 4, 4, false, errUnusable, 0)
	f(1, 4, 1, true, nil, 4)
}

// A breaker that is open is passed over, also in panic; when all are, the fault says so.
func TestAllBreakersOpen(t *testing.T) {
	for _, b := range []Balance{BalanceRoundRobin, BalanceLeastRequests, BalanceRandom, BalanceHash} {
		u := offline(t, Options{Endpoints: numbered(3), Balance: b, Hash: onSession, Breaker: &BreakerOptions{ConsecutiveFailures: 1, OpenFor: time.Hour}})
		x := session("a")
		for n := range 3 {
			e, ticket, err := u.pick(x, nil)
			if err != nil {
				t.Fatalf("%d, %d open: %v", b, n, err)
			}
			u.done(e, ticket, OutcomeFailure, fault.UpstreamReset, clock.Nano())
		}
		if _, _, err := u.pick(x, nil); err != errOpen || fault.KindOf(err) != fault.BreakerOpen {
			t.Error(b, err)
		}
	}
}

// What the slow one gets follows the ramp, by all ways of balancing.
func TestSlowStart(t *testing.T) {
	const ramp = 20 * time.Second
	for _, b := range []Balance{BalanceRoundRobin, BalanceLeastRequests, BalanceRandom, BalanceHash} {
		u := offline(t, Options{
			Endpoints: numbered(4), Balance: b, Hash: onSession, SlowStart: ramp, Ejection: &EjectionOptions{ConsecutiveFailures: 1, For: time.Second, Max: 0.5},
		})
		g := u.group
		now := clock.Nano()
		if g.ramp != 0 {
			t.Error("slow at the start")
		}
		e := u.Endpoints()[2]
		whole := float64(spreadOf(t, u, 40000, 1)[e.Name])
		fail(u, e, 1)
		g.step(now)
		now = g.members[2].eject.until
		next := g.step(now)
		start, last := now, 0.0
		for part := 0.0; part <= 1.15; part += 0.1 {
			for want := start + int64(part*float64(ramp)); now < want && next != never; next = g.step(now) {
				now = min(next, want)
			}
			share := float64(spreadOf(t, u, 40000, 1)[e.Name]) / whole
			want := min(0.1+0.9*part, 1)
			if b != BalanceHash { // the others share what it does not get
				want = want * 4 / (3 + want)
			} else if share < last-0.001 {
				t.Errorf("hash: keys went away again: %.3f after %.3f", share, last)
			}
			if last = share; math.Abs(share-want) > 0.2*want {
				t.Errorf("%d: at %.0f %% of the ramp it gets %.3f of its share, want %.3f", b, 100*part, share, want)
			}
		}
		if next != never {
			t.Errorf("%d: the ramp does not end", b)
		}
	}
}

// An endpoint whose breaker has closed again starts slowly, too.
func TestSlowStartAfterBreaker(t *testing.T) {
	u := offline(t, Options{Endpoints: numbered(2), SlowStart: time.Minute, Breaker: &BreakerOptions{ConsecutiveFailures: 1, OpenFor: time.Nanosecond}})
	e := u.Endpoints()[0]
	f := func(how Outcome) {
		ticket, ok := e.admit()
		if !ok {
			t.Fatal("refused")
		}
		u.done(e, ticket, how, fault.None, clock.Nano())
	}
	f(OutcomeFailure)
	f(OutcomeSuccess)
	u.group.step(clock.Nano())
	if s := u.Status().Endpoints; s[0].Share > 0.2 || s[1].Share != 1 {
		t.Errorf("%+v", s)
	}
}

// TestJudge has one endpoint take answers: + good, - bad, x none for want of descriptors; the verdict stands behind each.
func TestJudge(t *testing.T) {
	f := func(script string) {
		t.Helper()
		u := offline(t, Options{Endpoints: numbered(1), Health: &HealthOptions{Path: "/", Healthy: 2, Unhealthy: 3, Interval: 10 * time.Second}})
		g := u.group
		got := ""
		for i := 0; i < len(script); i += 2 {
			var err error
			if script[i] == '-' {
				err = errors.New("bad")
			}
			if script[i] == 'x' {
				err = &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}
			}
			now := int64(i+1) * int64(time.Minute)
			g.judge(g.members[0], err, now)
			h := &g.members[0].health
			got += script[i:i+1] + h.verdict.String()[:1]
			least, most := 8*time.Second, 12*time.Second
			if h.verdict == unknown {
				least, most = 800*time.Millisecond, 1200*time.Millisecond
			}
			if wait := time.Duration(h.due - now); wait < least || wait > most {
				t.Errorf("%s: the next check is in %v", got, wait)
			}
		}
		if got != script {
			t.Errorf("got %s, want %s", got, script)
		}
	}
	// unknown healthy unhealthy are u h u; the second u follows three bad answers
	f("+h+h-h-h+h-h-h-u-u+u-u+u+h+h")
	f("-u-u+h")
	f("-u-u-u+u+h")
	f("+h-h-hxhxhxh-u+uxu+h")
}

// Whatever is added, removed, fails and recovers: pick gives members only, never one that is ejected or sick unless in
// panic, no more are ejected than may be, and requests in flight add up.
func TestWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewRegistry(RegistryOptions{Offline: true})
		defer r.Close()
		most := rapid.SampledFrom([]float64{0, 0.1, 0.34, 0.5, 1}).Draw(t, "max")
		threshold := rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(t, "panic")
		o := Options{
			Name: "api", Endpoints: numbered(3), PanicThreshold: threshold,
			Balance: Balance(rapid.IntRange(0, 3).Draw(t, "balance")), Hash: HashOn{Kind: HashHeader, Name: "k"},
			Ejection: &EjectionOptions{ConsecutiveFailures: 2, For: time.Second, Max: most}, SlowStart: 5 * time.Second,
			Health: &HealthOptions{Path: "/", Healthy: 1, Unhealthy: 2},
		}
		if rapid.Bool().Draw(t, "breaker") {
			o.Breaker = &BreakerOptions{ConsecutiveFailures: 2, OpenFor: time.Nanosecond}
		}
		u, err := Open(r, o)
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		g, now := u.group, clock.Nano()
		type try struct {
			e *Endpoint
			t Ticket
		}
		var flying []try
		t.Repeat(map[string]func(*rapid.T){
			"members": func(t *rapid.T) {
				var list []EndpointOptions
				for _, c := range rapid.SliceOfNDistinct(rapid.IntRange(1, 12), 1, 12, rapid.ID[int]).Draw(t, "list") {
					list = append(list, EndpointOptions{Address: fmt.Sprintf("10.0.0.%d:80", c), Weight: c%3 + 1})
				}
				g.setOverride(newTargets(list, FromOperator))
			},
			"pick": func(t *rapid.T) {
				x := session(rapid.StringN(0, 3, -1).Draw(t, "key"))
				e, ticket, err := u.pick(x, nil)
				if err != nil {
					return
				}
				flying = append(flying, try{e, ticket})
				m := g.byKey[e.key]
				if m == nil || m.e != e {
					t.Fatalf("%s is no member", e.Name)
				}
				if !u.Panics() && !m.usable() {
					t.Fatalf("%s is not usable: %+v", e.Name, m)
				}
			},
			"done": func(t *rapid.T) {
				if len(flying) == 0 {
					return
				}
				i := rapid.IntRange(0, len(flying)-1).Draw(t, "which")
				how := Outcome(rapid.IntRange(0, 2).Draw(t, "how"))
				u.done(flying[i].e, flying[i].t, how, fault.None, clock.Nano())
				flying = append(flying[:i], flying[i+1:]...)
			},
			"streak": func(t *rapid.T) { fail(u, g.members[rapid.IntRange(0, len(g.members)-1).Draw(t, "who")].e, 2) },
			"check": func(t *rapid.T) {
				var err error
				if rapid.Bool().Draw(t, "sick") {
					err = errors.New("sick")
				}
				g.judge(g.members[rapid.IntRange(0, len(g.members)-1).Draw(t, "who")], err, now)
				g.publish(now)
			},
			"time": func(t *rapid.T) {
				now += int64(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 4 * time.Second}).Draw(t, "passes"))
				g.step(now)
			},
			"": func(t *rapid.T) {
				ejected := 0
				for _, m := range g.members {
					if m.eject.until != 0 {
						ejected++
					}
				}
				if ejected > int(most*float64(len(g.members))+1e-9) {
					t.Fatalf("%d of %d are ejected, at most %v may be", ejected, len(g.members), most)
				}
				s := g.set.Load()
				if len(s.all) != len(g.members) || len(s.entries) > len(s.all) {
					t.Fatal("the set is not what the members are")
				}
				if threshold > 0 && len(s.turns) == 0 && len(s.entries) > 0 {
					t.Fatal("nobody can be picked")
				}
				for _, m := range g.members {
					n := 0
					for _, f := range flying {
						if f.e == m.e {
							n++
						}
					}
					if int(m.e.inFlight.Load()) != n {
						t.Fatalf("%s: %d in flight, counted %d", m.e.Name, n, m.e.inFlight.Load())
					}
				}
			},
		})
		for _, f := range flying {
			u.done(f.e, f.t, OutcomeNeutral, fault.None, 1)
		}
	})
}
