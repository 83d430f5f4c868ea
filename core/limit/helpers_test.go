package limit

import (
	"math/rand/v2"
	"testing"
	"time"
)

// noon is a moment far from midnight on a 1 s boundary.
const noon = int64(20_000)*int64(day) + int64(12*time.Hour)

const (
	ms  = int64(time.Millisecond)
	sec = int64(time.Second)
)

func mustRule(t testing.TB, n int64, per time.Duration, burst int64) *Rule {
	t.Helper()
	r, err := NewRule(Rule{Scope: "chat", Name: "test", KeyKind: "ip", N: n, Per: per, Burst: burst})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustNamed(t testing.TB, name string, n int64, per time.Duration, burst int64) *Rule {
	t.Helper()
	r, err := NewRule(Rule{Scope: "chat", Name: name, KeyKind: "ip", N: n, Per: per, Burst: burst})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func smallStore() *Store { return NewStore(Options{Bytes: 1}) }

// keyOf is a cheap key for tests that need millions.
func keyOf(i int) Key {
	var b [8]byte
	for j := range b {
		b[j] = byte(i >> (8 * j))
	}
	return KeyBytes(b[:])
}

func admitted(s *Store, r *Rule, k Key, now int64, tries int) (n int) {
	for range tries {
		if s.Take(r, k, now).Allowed {
			n++
		}
	}
	return n
}

func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
