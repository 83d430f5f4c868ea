package upstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// parseLines reads a JSON list of targets, or lines of addresses: enough like YAML for a list cut short to be a good one.
func parseLines(_ string, doc []byte) ([]EndpointOptions, error) {
	var list []EndpointOptions
	if strings.HasPrefix(string(doc), "[") {
		var targets []Target
		if err := json.Unmarshal(doc, &targets); err != nil {
			return nil, err
		}
		for _, t := range targets {
			list = append(list, EndpointOptions{Address: strings.TrimPrefix(t.URL, "http://"), Weight: t.Weight})
		}
	} else {
		for line := range strings.Lines(string(doc)) {
			list = append(list, EndpointOptions{Address: strings.TrimSpace(line)})
		}
	}
	for _, o := range list {
		if !strings.HasPrefix(o.Address, "10.") {
			return nil, fmt.Errorf("bad endpoint %q", o.Address)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("at least one endpoint is needed")
	}
	return list, nil
}

const (
	listA          = "10.0.0.1:9000\n10.0.0.2:9000\n10.0.0.3:9000\n"
	listB          = "10.1.0.1:9000\n10.1.0.2:9000\n10.1.0.3:9000\n10.1.0.4:9000\n"
	namesA, namesB = "10.0.0.1:9000, 10.0.0.2:9000, 10.0.0.3:9000", "10.1.0.1:9000, 10.1.0.2:9000, 10.1.0.3:9000, 10.1.0.4:9000"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".next", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".next", path); err != nil {
		t.Fatal(err)
	}
}

// observer looks at u's endpoints all the time, as requests do, and complains of what is neither list.
func observer(t *testing.T, u *Upstream) (seen func() int64, stop func()) {
	var done atomic.Bool
	var changes atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		last := ""
		for !done.Load() {
			now := names(u)
			if now != namesA && now != namesB {
				t.Errorf("a broken set: %q", now)
				return
			}
			if _, _, err := u.pick(nil, nil); err != nil {
				t.Error(err)
				return
			}
			if now != last {
				changes.Add(1)
			}
			last = now
			time.Sleep(50 * time.Microsecond)
		}
	})
	return changes.Load, func() { done.Store(true); wg.Wait() }
}

// A writer that fills the file byte by byte, in place, is not believed before it has finished.
func TestFileWrittenByteByByte(t *testing.T) {
	path := filepath.Join(t.TempDir(), "endpoints")
	write(t, path, listA)
	u := open(t, RegistryOptions{FilePoll: 100 * time.Millisecond}, Options{File: path, Parse: parseLines})
	_, stop := observer(t, u)
	for i := range 200 {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		for n, c := range []byte([]string{listB, listA}[i%2]) {
			if _, err := f.Write([]byte{c}); err != nil {
				t.Fatal(err)
			}
			if n%8 == 0 {
				time.Sleep(100 * time.Microsecond) // so that most readings are of a part
			}
		}
		f.Close()
		time.Sleep(time.Duration(i%7) * time.Millisecond) // of all phases of the poll
		if i%50 == 0 {
			wantNames(t, u, namesB)
		}
	}
	wantNames(t, u, namesA)
	stop()
}

// Kubernetes puts a new folder in place by renaming a link above the file.
func TestFileBehindSwappedLink(t *testing.T) {
	dir := t.TempDir()
	swap := func(i int, text string) {
		t.Helper()
		generation := fmt.Sprintf("..%d", i)
		if err := os.Mkdir(filepath.Join(dir, generation), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, generation, "endpoints"), text)
		if err := os.Symlink(generation, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..%d", i-1)))
		}
	}
	swap(0, listA)
	path := filepath.Join(dir, "endpoints")
	if err := os.Symlink("..data/endpoints", path); err != nil {
		t.Fatal(err)
	}
	u := open(t, RegistryOptions{FilePoll: 2 * time.Millisecond}, Options{File: path, Parse: parseLines})
	seen, stop := observer(t, u)
	for i := 1; i <= 200; i++ {
		swap(i, []string{listA, listB}[i%2])
		wantNames(t, u, []string{namesA, namesB}[i%2])
	}
	stop()
	if seen() < 100 {
		t.Errorf("%d changes seen", seen())
	}
}

// What can't be used changes nothing, is told once, and is forgotten when it is mended.
func TestFileThatCannotBeUsed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "endpoints")
	write(t, path, listA)
	var bad atomic.Int64
	r := NewRegistry(RegistryOptions{FilePoll: 2 * time.Millisecond, Event: func(e Event) {
		if e.Bad {
			bad.Add(1)
		}
	}})
	defer r.Close()
	o := Options{Name: "api", File: path, Parse: parseLines}
	u, err := Open(r, o)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	f := func(what, part string, change func()) {
		t.Helper()
		before := bad.Load()
		change()
		eventually(t, what, func() bool { p := u.Status().Problems; return len(p) == 1 && strings.Contains(p[0], part) })
		if bad.Load() != before+1 || names(u) != namesA {
			t.Errorf("%s: %d events, %s", what, bad.Load()-before, names(u))
		}
		// Another configuration with the same file begins with the last good list, and says so.
		o.SlowStart += time.Second
		if next, err := Open(r, o); err != nil || names(next) != namesA || len(next.Status().Problems) != 1 {
			t.Errorf("%s: reload: %v", what, err)
		} else {
			next.Close()
		}
	}
	f("gone", "no such file", func() { os.Remove(path) })
	f("empty", "at least one", func() { write(t, path, "") })
	f("nonsense", `bad endpoint "nonsense"`, func() { write(t, path, "nonsense") })
	f("too large", "larger than 1 MiB", func() { write(t, path, strings.Repeat("10.0.0.1:80\n", 100000)) })
	write(t, path, listB)
	wantNames(t, u, namesB)
	if p := u.Status().Problems; len(p) != 0 {
		t.Error(p)
	}
	// At the start there is no last good list.
	write(t, path, "nonsense")
	other := NewRegistry(RegistryOptions{})
	defer other.Close()
	if _, err := Open(other, o); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Error(err)
	}
}

// Endpoints that stay keep all they have; those that leave end, with their idle connections and what counts for them.
func TestFileKeepsWhoStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "endpoints")
	write(t, path, "10.0.0.1:1\n10.0.0.2:1\n")
	var mu sync.Mutex
	alive := map[string]int{}
	u := open(t, RegistryOptions{FilePoll: 2 * time.Millisecond, Meters: func(e *Endpoint) (Meters, func()) {
		mu.Lock()
		defer mu.Unlock()
		alive[e.Name]++
		return Meters{}, func() { mu.Lock(); alive[e.Name]--; mu.Unlock() }
	}}, Options{File: path, Parse: parseLines, Breaker: &BreakerOptions{}, SlowStart: time.Hour})
	first, second := u.Endpoints()[0], u.Endpoints()[1]
	first.inFlight.Add(1) // a call under way
	write(t, path, "10.0.0.2:1\n10.0.0.3:1\n")
	wantNames(t, u, "10.0.0.2:1, 10.0.0.3:1")
	if u.Endpoints()[0] != second {
		t.Error("the one that stays is another")
	}
	s := u.Status().Endpoints
	if s[0].Share != 1 || s[1].Share > 0.2 || s[1].Source != FromFile {
		t.Errorf("%+v", s)
	}
	eventually(t, "the first is gone", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return alive["10.0.0.1:1"] == 0 && alive["10.0.0.2:1"] == 1 && alive["10.0.0.3:1"] == 1
	})
	u.done(first, Ticket{}, OutcomeFailure, 0, 1) // the call ends
}
