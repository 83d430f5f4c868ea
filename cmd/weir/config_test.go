package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
)

// reload asks for one and waits for its end.
func (p *process) reload(admin string) {
	p.t.Helper()
	before := count(p.t, admin, "weir_reload_attempts_total")
	p.signal(syscall.SIGHUP)
	p.wait("the reload", func() bool { return count(p.t, admin, "weir_reload_attempts_total") > before })
}

// settledResources are those after a collection.
func (p *process) settledResources(admin string) resources {
	p.resident(admin)
	return p.resources()
}

// least is the lesser of each; the zero value is none.
func (r resources) least(o resources) resources {
	if r == (resources{}) {
		return o
	}
	return resources{min(r.rss, o.rss), min(r.peak, o.peak), min(r.fds, o.fds)}
}

// TestReloadsLeaveNothing reloads again and again, each time with another filter's configuration, and looks at what is left of
// the second half of them. WEIR_RELOADS sets how often.
func TestReloadsLeaveNothing(t *testing.T) {
	n := coretest.Times(t, "WEIR_RELOADS", 60)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer up.Close()
	dir := t.TempDir()
	filter, keyFile, file := buildFilter(t, "01-tag-filter"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "weir.yaml")
	token := makeToken(t, keyFile)
	address, admin := freeAddress(t), freeAddress(t)
	write := func(i int) {
		writeFile(t, file, guarded(address, admin, up.URL, keyFile, filter, "tag-"+strconv.Itoa(i), ""))
	}
	write(0)
	p := startWeir(t, nil, "run", "-c", file)
	p.wait("weir listens", func() bool { return listens(address) && listens(admin) })
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var half, end resources
	var goroutines, goroutinesEnd float64
	for i := 1; i <= n; i++ {
		write(i)
		p.reload(admin)
		req, _ := http.NewRequest("GET", "http://"+address+"/", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		if _, err := ask(client, req); err != nil {
			t.Fatal(err)
		}
		// The least of five: what is resident goes up and down with the collector.
		switch {
		case i > n/2-5 && i <= n/2:
			half, goroutines = half.least(p.settledResources(admin)), count(t, admin, "go_goroutines")
		case i > n-5:
			end, goroutinesEnd = end.least(p.settledResources(admin)), count(t, admin, "go_goroutines")
		}
	}
	if bad := count(t, admin, "weir_reload_errors_total"); bad != 0 {
		t.Errorf("%v reloads failed\n%s", bad, p.stderr.String())
	}
	t.Logf("%d reloads: rss %d → %d KiB, fds %d → %d, goroutines %v → %v", n, half.rss, end.rss, half.fds, end.fds, goroutines, goroutinesEnd)
	coretest.Score(t, "G2", "goroutines", goroutinesEnd-goroutines)
	coretest.Score(t, "G2", "fds", float64(end.fds-half.fds))
	coretest.Score(t, "G2", "rss", float64(end.rss-half.rss)/1024)
	if goroutinesEnd > goroutines+5 || end.fds > half.fds+5 || end.rss > half.rss+20<<10 {
		t.Error("not flat")
	}
}

// twice is a configuration that says its number in two places of one answer, the last of them at its end.
func twice(address, admin, upstream string, n int) string {
	return fmt.Sprintf(`version: 1
access_log: {output: "off"}
listeners: [{address: %q}]
admin: {address: %q}
upstreams: {api: {endpoints: [%q]}}
routes:
  - {name: n, match: {path: /n}, auth: none, respond: {body: "%06d"}, headers: {response: {set: {x-n: "%06d"}}}}
  - {name: all, match: {path: /*}, auth: none, upstream: api}
  - {name: end, match: {path: /end}, auth: none, respond: {body: "%06d"}}
`, address, admin, upstream, n, n, n)
}

// TestBrokenFiles has files come that are broken in every way that a fixed seed makes up, files that are written byte by byte
// while reloads are asked for, and whole folders that are swapped by a link as Kubernetes does it: what is served is always
// one whole configuration, and requests do not fail meanwhile. WEIR_MUTATIONS sets how many of each.
func TestBrokenFiles(t *testing.T) {
	n := coretest.Times(t, "WEIR_MUTATIONS", 40)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer up.Close()
	dir, address, admin := t.TempDir(), freeAddress(t), freeAddress(t)
	file := filepath.Join(dir, "..data", "weir.yaml")
	version := func(i int) string { // a folder with a configuration of its own
		d := filepath.Join(dir, "v"+strconv.Itoa(i))
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(d, "weir.yaml"), twice(address, admin, up.URL, i))
		return d
	}
	link := func(to string) { // as the kubelet does
		next := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink(to, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	first := version(0)
	link(first)
	p := startWeir(t, nil, "run", "-c", file)
	p.wait("weir listens", func() bool { return listens(address) && listens(admin) })

	w := &watcher{t: t, address: address, stop: make(chan struct{})}
	var clients sync.WaitGroup
	for _, path := range []string{"/x", "/n", "/n"} {
		clients.Go(func() { w.watch(path) })
	}

	good := twice(address, admin, up.URL, 0)
	_, routes, _ := strings.Cut(good, "upstreams:") // who changes an address gets another address
	head := strings.TrimSuffix(good, routes)
	r := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range n {
		writeFile(t, filepath.Join(first, "weir.yaml"), head+mutate(r, routes))
		before := count(t, admin, "weir_reload_errors_total")
		p.reload(admin)
		if count(t, admin, "weir_reload_errors_total") > before {
			refused++
			w.ask(w.client(), "/n", true)
			continue
		}
		writeFile(t, filepath.Join(first, "weir.yaml"), good) // it was a configuration, of other routes perhaps
		p.reload(admin)
	}
	w.strict.Store(true)
	if refused == 0 || refused == n {
		t.Errorf("%d of %d mutations were refused", refused, n)
	}

	// Byte by byte, while a reload is asked for all the time: what has come by then may well be a configuration.
	hup := make(chan struct{})
	var storm sync.WaitGroup
	storm.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-hup:
				return
			case <-tick.C:
				p.signal(syscall.SIGHUP)
			}
		}
	})
	for i := range max(n/10, 4) {
		slowly(t, filepath.Join(first, "weir.yaml"), twice(address, admin, up.URL, i))
	}
	folders := max(n/4, 8)
	for i := range folders {
		link(version(1000 + i))
		time.Sleep(2 * time.Millisecond)
	}
	close(hup)
	storm.Wait()
	p.reload(admin)
	close(w.stop)
	clients.Wait()
	if got := w.ask(w.client(), "/n", true); got != fmt.Sprintf("%06d", 1000+folders-1) {
		t.Errorf("in the end %q is served", got)
	}
	t.Logf("%d mutations, %d of them refused; %d requests, %d failed, %d mixed; %v reloads", n, refused,
		w.asked.Load(), w.failed.Load(), w.mixed.Load(), count(t, admin, "weir_reload_attempts_total"))
	coretest.Score(t, "G3", "failed", float64(w.failed.Load()))
	coretest.Score(t, "G3", "mixed", float64(w.mixed.Load()))
}

// slowly writes over the file a byte at a time, and rests for long enough at the end of a line that a reload is asked for.
func slowly(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range len(text) {
		if _, err := f.WriteString(text[i : i+1]); err != nil {
			t.Fatal(err)
		}
		if text[i] == '\n' {
			time.Sleep(8 * time.Millisecond)
		}
	}
}

// mutate does to text what editors, merges and broken disks do.
func mutate(r *rand.Rand, text string) string {
	b := []byte(text)
	for range 1 + r.IntN(3) {
		i := r.IntN(len(b))
		j := min(i+1+r.IntN(12), len(b))
		switch r.IntN(7) {
		case 0:
			b[i] ^= 1 << r.IntN(8)
		case 1:
			b = append(b[:i:i], b[j:]...)
		case 2:
			b = append(b[:j:j], append(append([]byte{}, b[i:j]...), b[j:]...)...)
		case 3:
			b = b[:i+1]
		case 4:
			b[i] = "{}[]:,\"'-#&*!|>% \t\n0aA"[r.IntN(22)]
		case 5:
			b = append(b[:i:i], append([]byte("\n<<<<<<< HEAD\n"), b[i:]...)...)
		case 6:
			k := r.IntN(len(b))
			b[i], b[k] = b[k], b[i]
		}
	}
	return string(b)
}

// watcher asks while configurations change.
type watcher struct {
	t                    *testing.T
	address              string
	stop                 chan struct{}
	strict               atomic.Bool // only whole configurations of twice are meant to be served
	asked, failed, mixed atomic.Int64
}

func (w *watcher) client() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Second}, Timeout: 10 * time.Second}
}

// watch asks for the path until stop.
func (w *watcher) watch(path string) {
	client := w.client()
	defer client.CloseIdleConnections()
	for {
		select {
		case <-w.stop:
			return
		default:
			w.ask(client, path, false)
		}
	}
}

// ask counts what is no answer, and where it can be judged what is none of a whole configuration; it gives the body.
func (w *watcher) ask(client *http.Client, path string, judge bool) string {
	judge = judge || w.strict.Load()
	w.asked.Add(1)
	answer, err := client.Get("http://" + w.address + path)
	if err != nil {
		w.failed.Add(1)
		w.t.Errorf("%s: %v", path, err)
		return ""
	}
	b, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || answer.StatusCode != 200 && judge {
		if w.failed.Add(1) < 5 {
			w.t.Errorf("%s: %s %v", path, answer.Status, err)
		}
		return ""
	}
	if path == "/n" && judge && (answer.Header.Get("X-N") != string(b) || len(b) != 6) {
		if w.mixed.Add(1) < 5 {
			w.t.Errorf("%s: %q and %q", path, answer.Header.Get("X-N"), b)
		}
	}
	return string(b)
}
