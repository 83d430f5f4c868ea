package main

import (
	"fmt"
	"strings"
	"time"
)

// verdict is what a case came to.
type verdict int

const (
	fine    verdict = iota
	lenient         // harmless, and not what the rule asks for
	unsafe          // what reached the upstream, or came back, can be read in another way or is not what it should be
	refused         // a legal request was not served
)

var verdicts = [...]string{"ok", "lenient", "unsafe", "legal refused"}

func (v verdict) String() string { return verdicts[v] }

// result is a case's verdict with the reason.
type result struct {
	name, rule string
	verdict    verdict
	reason     string
	status     int // of the refusal, 0 where the connection was closed without an answer
}

func (r *result) be(v verdict, format string, args ...any) {
	if r.verdict == fine || v == unsafe && r.verdict != unsafe {
		r.verdict, r.reason = v, fmt.Sprintf(format, args...)
	}
}

// stage is a proxy with the origin behind it.
type stage struct {
	address  string
	origin   *origin
	patience time.Duration // for an answer
	probes   int
}

// play sends a request case, judges what reached the origin and what came back, and then looks whether the next client is
// served as ever.
func (s *stage) play(k *kase) result {
	r := result{name: k.name, rule: k.rule}
	s.origin.take()
	c, err := dial(s.address)
	if err != nil {
		r.be(unsafe, "%v", err)
		return r
	}
	defer c.Close()
	if !s.deliver(c, k, &r) {
		return r
	}
	open := s.answers(c, k, &r)
	s.judge(k, s.origin.take(), &r)
	if open {
		s.probe(c, false, &r)
	}
	_ = c.Close()
	for range 2 {
		if p, err := dial(s.address); err != nil {
			r.be(unsafe, "%v", err)
		} else {
			s.probe(p, true, &r)
			_ = p.Close()
		}
	}
	s.origin.cleanse()
	return r
}

// deliver sends the case's bytes.
func (s *stage) deliver(c *client, k *kase, r *result) bool {
	for _, p := range k.pieces {
		c.send(p)
		if c.more(30 * time.Millisecond) {
			r.be(refused, "did not wait for the rest of %q: %.60q", p, c.buf)
			return false
		}
	}
	c.send(k.in)
	if k.fin {
		_ = c.CloseWrite()
	}
	return true
}

// answers reads what comes back, and reports whether the connection can carry another request.
func (s *stage) answers(c *client, k *kase, r *result) (open bool) {
	expected := k.forward
	if k.refuse && !k.either {
		expected = append(k.forward[:len(k.forward):len(k.forward)], "GET ?")
	}
	for i, want := range expected {
		method, _, _ := strings.Cut(want, " ")
		m, how := c.answer(method, s.patience)
		if how == complete && m.status == 101 {
			return false
		}
		bad := how == complete && m.status >= 400
		switch {
		case how == garbled:
			r.be(unsafe, "answer %q", m.faults)
			return false
		case how == silent && k.refuse:
			r.be(lenient, "neither refused nor served")
			return false
		case how == silent:
			r.be(refused, "no answer")
			return false
		case how != complete || bad:
			if bad {
				r.status = m.status
			}
			if !k.refuse {
				r.be(refused, "%d", r.status)
			}
			if i < len(k.forward) && !k.either {
				r.be(refused, "answer %d is %d", i+1, r.status)
			}
			if how != complete || m.close {
				return false
			}
			if k.refuse && !k.mayStay && !c.ends(s.patience/2) {
				r.be(lenient, "refused, but the connection stays open")
			}
			return c.ended == nil
		case len(m.faults) > 0:
			r.be(unsafe, "answer %q", m.faults)
		case i < len(k.forward) && method != "HEAD" && !k.mild && !same(m.body, want):
			r.be(unsafe, "answer to another request: %.80q", m.body)
		}
		if i < len(expected)-1 {
			continue
		}
		if i < len(k.forward) {
			return !m.close && !k.fin
		}
		// Taken for a legal one: what lies behind it may be taken for another, whose answer is waited for.
		for how == complete {
			_, how = c.answer("GET", min(s.patience, 300*time.Millisecond))
		}
	}
	return false
}

// judge compares what reached the origin with what should have.
func (s *stage) judge(k *kase, got []arrival, r *result) {
	var wholes []arrival
	for i := range got {
		a := &got[i]
		if a.state == broken || len(a.faults) > 0 {
			r.be(unsafe, "upstream got %q", strings.Join(a.faults, "; "))
		}
		if len(a.odd) > 0 {
			r.be(lenient, "upstream got %q", strings.Join(a.odd, "; "))
		}
		for _, never := range k.never {
			if strings.Contains(strings.ToLower(a.raw), strings.ToLower(never)) {
				r.be(unsafe, "upstream got %q", never)
			}
		}
		if a.state == whole {
			wholes = append(wholes, *a)
		}
	}
	if k.refuse && len(wholes) <= len(k.forward) && (!k.either || len(wholes) == 0) {
		s.compare(k, wholes, k.forward[:len(wholes)], r)
		return
	}
	if k.refuse && !k.either {
		extra := wholes[len(k.forward):]
		for i := range extra {
			if k.cut || k.hidden && strings.Contains(extra[i].target, "smuggled") {
				r.be(unsafe, "upstream got %q", extra[i].String())
			}
		}
		r.be(lenient, "forwarded as %q", extra[0].String())
		return
	}
	if len(wholes) > len(k.forward) {
		r.be(unsafe, "%d requests reached the upstream: %q", len(wholes), wholes[len(wholes)-1].String())
		return
	}
	if len(wholes) < len(k.forward) {
		r.be(refused, "%d of %d requests reached the upstream", len(wholes), len(k.forward))
	}
	s.compare(k, wholes, k.forward[:len(wholes)], r)
}

func (s *stage) compare(k *kase, got []arrival, want []string, r *result) {
	for i := range got {
		a := &got[i]
		if meaning := a.String(); !same(meaning, want[i]) {
			if k.mild {
				r.be(lenient, "forwarded as %q", meaning)
			} else {
				r.be(unsafe, "forwarded as %q", meaning)
			}
		}
		raw := strings.ToLower(a.raw)
		for _, has := range k.has {
			if !strings.Contains(raw, strings.ToLower(has)) {
				r.be(lenient, "%q was not forwarded", has)
			}
		}
		for _, not := range k.not {
			if strings.Contains(raw, strings.ToLower(not)) {
				r.be(lenient, "%q was forwarded", not)
			}
		}
	}
}

// same compares a meaning with the one that is due, whose host may be @*, any.
func same(meaning, due string) bool {
	before, after, any := strings.Cut(due, "@*")
	if !any {
		return strings.EqualFold(meaning, due)
	}
	rest, ok := strings.CutPrefix(meaning, before+"@")
	return ok && strings.HasSuffix(rest, after)
}

// probe sends an ordinary request, which must get its own answer and reach the origin alone. A connection that is not fresh
// may end instead.
func (s *stage) probe(c *client, fresh bool, r *result) {
	s.probes++
	target := fmt.Sprintf("/probe/%d", s.probes)
	want := "GET " + target + " @probe.example"
	c.send("GET " + target + " HTTP/1.1\r\nHost: probe.example\r\n\r\n")
	m, how := c.answer("GET", s.patience)
	if how != complete || m.body != want {
		if !fresh && how != complete && c.ended != nil && len(c.buf) == 0 {
			return
		}
		r.be(unsafe, "the next request got %d %.80q", m.status, m.body)
	}
	for _, a := range s.origin.take() {
		if a.state == partial && !strings.Contains(a.raw, "/probe/") {
			continue // what was cut off before
		}
		if a.state != whole || len(a.faults) > 0 || a.String() != want {
			r.be(unsafe, "the next request brought %.120q to the upstream", a.raw)
		}
	}
}
