package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/weirproxy/weir/core/clock"
)

const (
	// maxLookups bounds the names of one upstream that are asked for at once.
	maxLookups = 16
	// lookupTime is how long one may take.
	lookupTime = 5 * time.Second
	// lookupAgain is when a name that could not be resolved is first asked for again; then it is twice that, and so on.
	lookupAgain = time.Second
	// familyTime is how long it may take to find out which of two families can be connected to, familyAhead by how much
	// IPv6 goes first (RFC 8305 §8).
	familyTime  = time.Second
	familyAhead = 250 * time.Millisecond
)

// startLookups asks for names that are due. g.mu is held.
func (g *group) startLookups(now int64) {
	for _, t := range g.targets {
		if !t.named || t.busy || now < t.due || g.looking == maxLookups {
			continue
		}
		t.busy = true
		g.looking++
		q := question{o: t.o, last: t.found, doubt: t.unsure || g.doubts(t)}
		g.workers.Go(func() {
			ctx, cancel := context.WithTimeout(g.ctx, lookupTime)
			a := g.r.ask(ctx, q)
			cancel()
			g.answered(t, a)
		})
	}
}

// doubts reports whether an endpoint of t fails: then another family may be better.
func (g *group) doubts(t *target) bool {
	return slices.ContainsFunc(g.members, func(m *member) bool {
		return m.t == t && (m.e.streak.Load() > 0 || !m.usable())
	})
}

// question is a lookup: what for, and what was found the last time.
type question struct {
	o     EndpointOptions
	last  []address
	doubt bool // the family chosen then may be the wrong one
}

type answer struct {
	found  []address
	unsure bool
	err    error
}

// answered takes the result of a lookup. What was found before stays when nothing is found now: a name that can't be
// resolved says nothing about the servers that it had.
func (g *group) answered(t *target, a answer) {
	now := clock.Nano()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.looking--
	t.busy = false
	if g.closed || !slices.Contains(g.targets, t) {
		g.settle(t)
		return
	}
	t.unsure = a.unsure
	t.due = now + jitter(g.o.Resolve)
	if len(a.found) == 0 || a.unsure {
		t.failed = min(t.failed+1, 16)
		t.due = now + jitter(min(lookupAgain<<(t.failed-1), g.o.Resolve))
	} else {
		t.failed = 0
	}
	if len(a.found) == 0 {
		if t.err == nil {
			text := "name not resolved; its last addresses are kept"
			if len(t.found) == 0 {
				text = "name not resolved; it has no endpoints yet"
			}
			g.tell(t.o.URL, text, a.err, true)
		}
		t.err = a.err
	} else {
		if t.err != nil {
			g.tell(t.o.URL, "name resolved again", nil, false)
		}
		t.err = a.err
		if !slices.Equal(t.found, a.found) {
			t.found = a.found
			g.change(now, nil)
		}
	}
	g.settle(t)
	g.kick()
}

// settle notes that t has been asked for.
func (g *group) settle(t *target) {
	if t.asked {
		return
	}
	t.asked = true
	if g.waiting--; g.waiting == 0 {
		close(g.settled)
	}
}

// ask resolves a name. It reports no addresses, and why, or addresses, and what was wrong besides.
func (r *Registry) ask(ctx context.Context, q question) answer {
	if q.o.SRV {
		return r.askSRV(ctx, q)
	}
	host, port, err := net.SplitHostPort(q.o.Address)
	if err != nil {
		return answer{err: err}
	}
	ips, unsure, err := r.addresses(ctx, host, port, q)
	if err != nil {
		return answer{err: err}
	}
	a := answer{unsure: unsure}
	for _, ip := range ips {
		a.found = append(a.found, address{
			dial:  netip.AddrPortFrom(ip, portOf(port)).String(),
			label: q.o.Address + " (" + ip.String() + ")",
		})
	}
	return a
}

func portOf(s string) uint16 {
	n, _ := strconv.ParseUint(s, 10, 16) // checked by whoever made the options; 0 can't be connected to
	return uint16(n)
}

// addresses gives host's, sorted: those of the family that can be connected to, if it has both. Both are mostly the same
// servers, and an endpoint of each would halve what gets through where one family has no route.
func (r *Registry) addresses(ctx context.Context, host, port string, q question) (ips []netip.Addr, unsure bool, err error) {
	all, err := r.o.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, false, err
	}
	var v4, v6 []netip.Addr
	for _, ip := range all {
		if ip = ip.Unmap(); ip.Is4() {
			v4 = append(v4, ip)
		} else {
			v6 = append(v6, ip)
		}
	}
	for _, list := range []*[]netip.Addr{&v4, &v6} {
		slices.SortFunc(*list, netip.Addr.Compare)
		*list = slices.Compact(*list)
	}
	switch {
	case len(v4)+len(v6) == 0:
		return nil, false, errors.New("no addresses")
	case len(v6) == 0:
		return v4, false, nil
	case len(v4) == 0:
		return v6, false, nil
	}
	if !q.doubt {
		for i := range q.last { // one of them is in use and good
			ip := netip.MustParseAddrPort(q.last[i].dial).Addr()
			if slices.Contains(family(ip.Is6(), v4, v6), ip) {
				return family(ip.Is6(), v4, v6), false, nil
			}
		}
	}
	is6, ok := connects(ctx, v4, v6, port)
	if !ok { // nobody is there, as yet: what was used stays
		is6 = len(q.last) > 0 && netip.MustParseAddrPort(q.last[0].dial).Addr().Is6()
	}
	return family(is6, v4, v6), !ok, nil
}

func family(is6 bool, v4, v6 []netip.Addr) []netip.Addr {
	if is6 {
		return v6
	}
	return v4
}

// connects finds out which family can be connected to, IPv6 if both can.
func connects(ctx context.Context, v4, v6 []netip.Addr, port string) (is6, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, familyTime)
	defer cancel()
	type result struct{ is6, ok bool }
	results := make(chan result, 2)
	failed := make(chan struct{})
	try := func(ips []netip.Addr) bool {
		for _, ip := range ips[:min(len(ips), 3)] {
			var d net.Dialer
			if c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(ip.String(), port)); err == nil {
				_ = c.Close()
				return true
			}
		}
		return false
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		good := try(v6)
		if !good {
			close(failed)
		}
		results <- result{true, good}
	})
	wg.Go(func() {
		ahead := time.NewTimer(familyAhead)
		defer ahead.Stop()
		select {
		case <-failed:
		case <-ahead.C:
		case <-ctx.Done():
		}
		results <- result{false, try(v4)}
	})
	for range 2 {
		if r := <-results; r.ok {
			is6, ok = r.is6, true
			break
		}
	}
	cancel()
	wg.Wait()
	return is6, ok
}

// askSRV resolves SRV records (RFC 2782) and the names that they give.
func (r *Registry) askSRV(ctx context.Context, q question) answer {
	_, records, err := r.o.Resolver.LookupSRV(ctx, "", "", q.o.Address)
	if len(records) == 0 {
		if err == nil {
			err = errors.New("no SRV records")
		}
		return answer{err: err}
	}
	slices.SortFunc(records, func(a, b *net.SRV) int {
		if a.Target != b.Target {
			return cmp.Compare(a.Target, b.Target)
		}
		return int(a.Port) - int(b.Port)
	})
	results := make([]answer, len(records))
	var wg sync.WaitGroup
	places := make(chan struct{}, maxLookups)
	for i, s := range records {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			results[i] = r.askRecord(ctx, s, q)
		})
	}
	wg.Wait()
	var out answer
	for i := range results {
		out.found = append(out.found, results[i].found...)
		out.unsure = out.unsure || results[i].unsure
		if results[i].err != nil {
			out.err = fmt.Errorf("%s: %w", records[i].Target, results[i].err)
		}
	}
	return out
}

// askRecord resolves what one record names; the addresses that it had stay when it can't be.
func (r *Registry) askRecord(ctx context.Context, s *net.SRV, q question) answer {
	target := s.Target
	if n := len(target); n > 1 && target[n-1] == '.' {
		target = target[:n-1]
	}
	if target == "." {
		return answer{err: errors.New("the record says that there is no such service")}
	}
	hostPort := net.JoinHostPort(target, strconv.Itoa(int(s.Port)))
	var last []address
	for _, a := range q.last {
		if a.host == hostPort {
			last = append(last, a)
		}
	}
	q.last = last
	ips, unsure, err := r.addresses(ctx, target, strconv.Itoa(int(s.Port)), q)
	if err != nil {
		return answer{found: last, err: err}
	}
	a := answer{unsure: unsure}
	for _, ip := range ips {
		a.found = append(a.found, address{
			dial:     netip.AddrPortFrom(ip, s.Port).String(),
			label:    hostPort + " (" + ip.String() + ")",
			host:     hostPort,
			weight:   max(int64(s.Weight), 1), // 0 is for "a very small chance" beside others (RFC 2782)
			priority: s.Priority,
		})
	}
	return a
}
