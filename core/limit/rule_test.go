package limit

import (
	"strings"
	"testing"
	"time"
)

func TestNewRule(t *testing.T) {
	f := func(n int64, per time.Duration, burst int64, want string) {
		t.Helper()
		_, err := NewRule(Rule{Name: "x", N: n, Per: per, Burst: burst})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d per %s, burst %d: got %v, want %q", n, per, burst, err, want)
		}
	}
	// the slowest and the fastest
	f(1, day, 0, "")
	f(1, day, 1, "")
	f(1, day, 366, "")
	f(1e9, time.Second, 0, "")
	f(1e9, time.Second, 1e9, "")
	f(1, 1, 0, "")
	f(1, 1, 1e9, "")
	f(1e9, day, 1e9, "")
	f(1e9, day, 0, "")
	// none, and too many
	f(0, time.Second, 0, "must be 1 to")
	f(-1, time.Second, 0, "must be 1 to")
	f(1e9+1, day, 0, "must be 1 to")
	// no period, one too long, one too short
	f(1, 0, 0, "period")
	f(1, -time.Second, 0, "period")
	f(1, day+1, 0, "period")
	f(2, 1, 0, "more than 10^9 a second")
	f(1e9, time.Second-1, 0, "more than 10^9 a second")
	// bursts
	f(1, time.Second, -1, "burst -1")
	f(1, time.Second, 1e9+1, "must be 0 to")
	f(1, day, 367, "366 days")
	f(1, day, 1e9, "366 days")
}

func TestRuleIDIsMeaning(t *testing.T) {
	base := Rule{Scope: "chat", Name: "ip", KeyKind: "ip/64", N: 10, Per: time.Minute}
	id := func(change func(r *Rule)) uint64 {
		r := base
		change(&r)
		got, err := NewRule(r)
		if err != nil {
			t.Fatal(err)
		}
		return got.ID
	}
	same := id(func(*Rule) {})
	if got := id(func(r *Rule) { r.ID = 7 }); got != same {
		t.Error("the given ID matters")
	}
	seen := map[uint64]string{same: "base"}
	for name, change := range map[string]func(r *Rule){
		"scope":    func(r *Rule) { r.Scope = "other" },
		"name":     func(r *Rule) { r.Name = "other" },
		"key":      func(r *Rule) { r.KeyKind = "ip/56" },
		"rate":     func(r *Rule) { r.N = 11 },
		"period":   func(r *Rule) { r.Per = time.Hour },
		"burst":    func(r *Rule) { r.Burst = 1 },
		"boundary": func(r *Rule) { r.Scope, r.Name = "cha", "tip" },
	} {
		got := id(change)
		if other, ok := seen[got]; ok {
			t.Errorf("%s: same ID as %s", name, other)
		}
		seen[got] = name
	}
}

// A reload makes new rules; counters go on where the meaning is the same.
func TestReload(t *testing.T) {
	s := smallStore()
	for range 100 {
		admittedOnce(t, s)
	}
	k := KeyString("a")
	if d := s.Peek(mustRule(t, 1000, time.Minute, 0), k, noon); d.Remaining != 900 {
		t.Errorf("after 100 reloads: %d remaining, want 900", d.Remaining)
	}
	if d := s.Peek(mustRule(t, 999, time.Minute, 0), k, noon); d.Remaining != 999 {
		t.Errorf("changed rule: %d remaining, want 999", d.Remaining)
	}
}

func admittedOnce(t *testing.T, s *Store) {
	t.Helper()
	if !s.Take(mustRule(t, 1000, time.Minute, 0), KeyString("a"), noon).Allowed {
		t.Fatal("refused")
	}
}
