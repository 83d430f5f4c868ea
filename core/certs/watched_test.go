package certs

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// TestNewsIsSeenTwice: what a look finds counts when the next one finds the same.
func TestNewsIsSeenTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	w := watched{paths: []string{path}}
	now := time.Now()
	w.take(w.load(now))
	look := func() string {
		t.Helper()
		now = now.Add(time.Second)
		if c, ok := w.news(now); ok {
			return string(c.data[0])
		}
		return "-"
	}
	f := func(want ...string) {
		t.Helper()
		for i, x := range want {
			if got := look(); got != x {
				t.Errorf("look %d: %s, want %s", i, got, x)
			}
		}
	}
	f("-", "-")
	write("ab")
	f("-")
	write("abc")
	f("-", "abc", "abc") // until somebody takes it
	w.take(w.load(now))
	f("-", "-")
	// Known to be wrong.
	write("abcd")
	f("-", "abcd")
	w.refuse(w.load(now))
	f("-", "-")
	// The old content again, and then the wrong one again: it is news.
	write("abc")
	f("-", "-")
	write("abcd")
	f("-", "abcd")
	// A change that metadata does not show, right after a reading.
	w.take(w.load(now))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	now = info.ModTime()
	w.load(now)
	write("ABCD")
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	f("-", "ABCD")
}

// TestAnswer: a proof is told under its own name only, and as long as it is asked for.
func TestAnswer(t *testing.T) {
	r := &Registry{}
	asked := acme.Challenge{Token: "token", KeyAuthorization: "token.print", Identifier: acme.Identifier{Type: "dns", Value: "a.example"}}
	f := func(host, path, want string) {
		t.Helper()
		got, ok := r.Answer([]byte(host), []byte(path))
		if got != want || ok != (want != "") {
			t.Errorf("%s%s: %q", host, path, got)
		}
	}
	f("a.example", ChallengePath+"token", "")
	s := byHTTP{&r.challenges}
	if err := s.Present(context.Background(), asked); err != nil {
		t.Fatal(err)
	}
	f("a.example", ChallengePath+"token", "token.print")
	f("A.example:80", ChallengePath+"token", "token.print")
	f("b.example", ChallengePath+"token", "")
	f("", ChallengePath+"token", "")
	f("a.example", ChallengePath+"other", "")
	f("a.example", ChallengePath, "")
	f("a.example", "/token", "")
	if err := s.CleanUp(context.Background(), asked); err != nil {
		t.Fatal(err)
	}
	f("a.example", ChallengePath+"token", "")
}

// TestLocks: one has it, a dead one's is taken over, and a living one's is not.
func TestLocks(t *testing.T) {
	s, other := newStorage(t.TempDir()), newStorage("")
	other.Path = s.Path
	ctx, cancel := context.WithCancel(context.Background())
	if err := s.Lock(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if ok, err := other.TryLock(ctx, "a"); ok || err != nil {
		t.Error(ok, err)
	}
	cancel()
	if err := other.Lock(ctx, "a"); err == nil {
		t.Error("two have the lock")
	}
	if err := s.Unlock(ctx, "a"); err != nil {
		t.Error(err)
	}
	if ok, err := other.TryLock(ctx, "a"); !ok || err != nil {
		t.Error(ok, err)
	}
	past := time.Now().Add(-2 * lockStale)
	if err := os.Chtimes(s.lockPath("a"), past, past); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.TryLock(ctx, "a"); !ok || err != nil {
		t.Error(ok, err)
	}
	if other.Unlock(ctx, "a") != nil { // woken up: it has nothing to give back
		t.Error("unlock")
	}
	if ok, err := other.TryLock(ctx, "a"); ok || err != nil {
		t.Error("the lock is gone", err)
	}
	if s.Unlock(ctx, "a") != nil || s.Unlock(ctx, "a") == nil {
		t.Error("unlock")
	}
}

// TestOneTakesOver: of many that find a dead one's lock at once, one gets it.
func TestOneTakesOver(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	past := time.Now().Add(-2 * lockStale)
	for round := range 300 {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, past, past); err != nil {
			t.Fatal(err)
		}
		var got atomic.Int64
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				<-start
				if ok, err := tryLock(path); err != nil {
					t.Error(err)
				} else if ok {
					got.Add(1)
				}
			})
		}
		close(start)
		wg.Wait()
		if got.Load() > 1 {
			t.Fatalf("round %d: %d have the lock", round, got.Load())
		}
		_ = os.Remove(path)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestRotatesOnce: who comes second, with the same reason, finds that it has been done.
func TestRotatesOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	now := time.Now()
	read := func() string {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if err := rotateTickets(path, time.Hour, now); err != nil {
		t.Fatal(err)
	}
	first := read()
	if err := rotateTickets(path, time.Hour, now); err != nil || read() != first {
		t.Error("rotated again", err)
	}
	if err := rotateTickets(path, time.Hour, now.Add(2*time.Hour)); err != nil || read() == first {
		t.Error("not rotated", err)
	}
	if ok, err := tryLock(path + ".lock"); !ok || err != nil {
		t.Error("the lock is left", err)
	}
	if err := rotateTickets(path, time.Hour, now.Add(4*time.Hour)); err != errLocked {
		t.Error(err)
	}
}
