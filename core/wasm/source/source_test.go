package source

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// server gives modules over TLS; what it gives may be changed.
type server struct {
	*httptest.Server
	asked  atomic.Int64
	answer atomic.Pointer[http.HandlerFunc]
}

func newServer(t *testing.T) (*server, func(*Options)) {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		(*s.answer.Load())(w, r)
	}))
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	return s, func(o *Options) { o.Roots = roots }
}

func (s *server) give(f http.HandlerFunc) { s.answer.Store(&f) }

// serve gives a module with its ETag.
func (s *server) serve(n byte) {
	s.give(func(w http.ResponseWriter, r *http.Request) {
		etag := fmt.Sprintf(`"%d"`, n)
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(module(n))
	})
}

func get(t *testing.T, s *Store, address, pin string, want byte) {
	t.Helper()
	code, err := s.Get(address, pin)
	if err != nil || !bytes.Equal(code, module(want)) {
		t.Fatalf("%q %v", code, err)
	}
	kept, err := s.Kept(sha256.Sum256(code))
	if err != nil || !bytes.Equal(kept, code) {
		t.Fatalf("kept: %q %v", kept, err)
	}
}

// A server's module, its next one, and what is served while the server is gone: in the same process, and in the next.
func TestGet(t *testing.T) {
	for _, disk := range []bool{true, false} {
		srv, roots := newServer(t)
		s, log := newStore(t, roots, func(o *Options) {
			if !disk {
				o.StateDir = ""
			}
		})
		address := strings.Replace(srv.URL, "https://", "https://user:secret@", 1) + "/f.wasm"
		srv.serve(1)
		get(t, s, address, "", 1)
		get(t, s, address, "", 1)
		if n := srv.asked.Load(); n != 2 || log.String() != "" {
			t.Errorf("asked %d times, log %s", n, log)
		}
		if disk && len(names(t, s)) != 2 {
			t.Error(names(t, s))
		}
		srv.serve(2)
		get(t, s, address, "", 2)
		get(t, s, address, hashOf(module(2)), 2) // what is pinned and here is not asked for
		if n := srv.asked.Load(); n != 3 {
			t.Errorf("asked %d times", n)
		}
		for _, broken := range []http.HandlerFunc{
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) },
			func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>log in, please") },
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				_, _ = w.Write(module(3))
			},
			func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		} {
			srv.give(broken)
			get(t, s, address, "", 2)
		}
		srv.Close()
		get(t, s, address, "", 2)
		if disk {
			get(t, New(s.o), address, "", 2)
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if want := map[bool]int{true: 7, false: 6}[disk]; len(lines) != want {
			t.Errorf("%d lines of log:\n%s", len(lines), log)
		}
		for _, line := range lines {
			if !strings.Contains(line, "module not fetched: going on with the last good copy") ||
				!strings.Contains(line, `"age":"`) || strings.Contains(line, "secret") {
				t.Error(line)
			}
		}
		if disk {
			for _, name := range names(t, s) {
				if b, _ := os.ReadFile(s.keep.file(name)); bytes.Contains(b, []byte("secret")) {
					t.Errorf("%s holds a password", name)
				}
			}
		}
	}
}

// Without a good copy every failure is an error, and what is pinned is given or nothing.
func TestGetErrors(t *testing.T) {
	srv, roots := newServer(t)
	s, log := newStore(t, roots)
	address := srv.URL + "/f.wasm"
	bad := func(want string, f http.HandlerFunc) {
		t.Helper()
		srv.give(f)
		_, err := s.Get(address, "")
		fails(t, err, "fetch "+address+": "+want)
	}
	bad("the server answers 404 Not Found", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) })
	bad("the server answers 304 Not Modified", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) })
	bad("not a WebAssembly module: it is HTML or XML: the page of an error, perhaps", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<html>")
	})
	bad("larger than 2 MiB", func(w http.ResponseWriter, _ *http.Request) {
		zeros := make([]byte, 1<<20)
		for range s.most>>20 + 1 {
			if _, err := w.Write(zeros); err != nil {
				return
			}
		}
	})
	bad("more than 5 redirects", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"x", http.StatusFound) })
	bad("redirected from https to http://127.0.0.1:1/x", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/x", http.StatusFound)
	})
	bad("redirected from https to file:///etc/passwd", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
	})
	srv.serve(1)
	pin := hashOf(module(2))
	_, err := s.Get(address, pin)
	fails(t, err, address+" is not the module that is pinned: its sha256 is "+hashOf(module(1))+", not "+pin)
	if got := names(t, s); len(got) != 0 {
		t.Error("kept what is wrong:", got)
	}
	// A last good copy is no answer to a pin that names another.
	get(t, s, address, "", 1)
	srv.give(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	_, err = s.Get(address, pin)
	fails(t, err, "fetch "+address+": the server answers 503 Service Unavailable")

	_, err = s.Get("http://user:secret@127.0.0.1/f.wasm", "")
	fails(t, err, "http://user:xxxxx@127.0.0.1/f.wasm would let anybody on the way put in another module: give its sha256, or take https://")
	_, err = s.Get("ftp://h/x", "")
	fails(t, err, "ftp://h/x is not an address that modules come from: https://…, http://… or oci://…")
	_, err = s.Get("https://user:se%cret@h/", "")
	fails(t, err, "the address of a module cannot be read")
	// Nobody vouches for this server but the test.
	strict, _ := newStore(t)
	if _, err = strict.Get(address, ""); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
	if log.String() != "" {
		t.Error(log)
	}
}

// Redirects, as those of release pages: five of them, and within https.
func TestRedirects(t *testing.T) {
	srv, roots := newServer(t)
	s, _ := newStore(t, roots)
	srv.give(func(w http.ResponseWriter, r *http.Request) {
		if len(r.URL.Path) < 6 {
			http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
			return
		}
		_, _ = w.Write(module(1))
	})
	get(t, s, srv.URL+"/", "", 1)
}

// What is pinned may come by plain HTTP.
func TestPlain(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(module(1)) }))
	defer srv.Close()
	s, _ := newStore(t)
	pin := hashOf(module(1))
	get(t, s, srv.URL, pin, 1)
	srv.Close()
	get(t, New(s.o), srv.URL, pin, 1)
	// A file that has gone bad is not given.
	if err := os.WriteFile(s.keep.file(pin+".wasm"), module(7), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(srv.URL, pin); err == nil || !strings.HasPrefix(err.Error(), "fetch "+srv.URL) {
		t.Error(err)
	}
}

// Servers that do not answer, or never come to an end, are left after a while.
func TestSlow(t *testing.T) {
	srv, roots := newServer(t)
	done := make(chan struct{})
	defer close(done)
	s, log := newStore(t, roots, func(o *Options) { o.Timeout = 50 * time.Millisecond })
	srv.give(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(module(1)[:8])
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-done:
		}
	})
	_, err := s.Get(srv.URL, "")
	fails(t, err, "fetch "+srv.URL+": it takes too long")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, err = s.Get("https://"+ln.Addr().String()+"/", "")
	fails(t, err, "fetch https://"+ln.Addr().String()+"/: it takes too long")
	if log.String() != "" {
		t.Error(log)
	}
}

// A folder that cannot be written is told, and the module is served all the same.
func TestUnwritable(t *testing.T) {
	srv, roots := newServer(t)
	taken := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, log := newStore(t, roots, func(o *Options) { o.StateDir = taken })
	srv.serve(1)
	for range 2 {
		if code, err := s.Get(srv.URL, ""); err != nil || !bytes.Equal(code, module(1)) {
			t.Error(err)
		}
	}
	if strings.Count(log.String(), "module not kept: a start without its server would fail") != 2 {
		t.Error(log)
	}
	if code, err := s.Kept(sha256.Sum256(module(1))); err != nil || !bytes.Equal(code, module(1)) {
		t.Error(err)
	}
}

// Several processes share a folder while its server changes the module: each gets a whole one.
func TestShared(t *testing.T) {
	srv, roots := newServer(t)
	first, log := newStore(t, roots)
	srv.serve(1)
	get(t, first, srv.URL, "", 1)
	var all sync.WaitGroup
	for i := range 4 {
		s := New(first.o)
		all.Go(func() {
			for n := range 25 {
				srv.serve(byte(1 + (n+i)%3))
				code, err := s.Get(srv.URL, "")
				if err != nil || len(code) != len(module(0)) {
					t.Errorf("%q %v", code, err)
					return
				}
			}
		})
	}
	all.Wait()
	if log.String() != "" {
		t.Error(log)
	}
	for _, name := range names(t, first) {
		if strings.HasPrefix(name, temporary) {
			t.Error("left behind:", name)
		}
	}
}

func TestSweep(t *testing.T) {
	srv, roots := newServer(t)
	s, _ := newStore(t, roots)
	srv.serve(1)
	get(t, s, srv.URL, "", 1)
	srv.serve(2)
	get(t, s, srv.URL, "", 2)
	get(t, s, srv.URL, hashOf(module(1)), 1) // in hand
	put := func(name string, b []byte, age time.Duration) {
		t.Helper()
		path := s.keep.file(name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	put(hashOf(module(3))+".wasm", module(3), forget+time.Hour)
	put(hashOf(module(4))+".wasm", module(4), forget-time.Hour)
	put(temporary+"1", nil, 2*forgetTemporary)
	put(temporary+"2", nil, 0)
	for _, n := range []byte{1, 2} {
		put(hashOf(module(n))+".wasm", module(n), forget+time.Hour)
	}
	s.sweep() // too early: who has just begun knows little
	if n := len(names(t, s)); n != 7 {
		t.Errorf("%d files", n)
	}
	s.opened = s.opened.Add(-2 * time.Hour)
	s.sweep()
	left := strings.Join(names(t, s), " ")
	for name, want := range map[string]bool{
		hashOf(module(1)): true, hashOf(module(2)): true, hashOf(module(3)): false, hashOf(module(4)): true,
		temporary + "1": false, temporary + "2": true,
	} {
		if strings.Contains(left, name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	// What cannot be read may name anything: then nothing goes.
	put("x.json", []byte("{"), 0)
	put(hashOf(module(3))+".wasm", module(3), forget+time.Hour)
	s.sweep()
	if !strings.Contains(strings.Join(names(t, s), " "), hashOf(module(3))) {
		t.Error("swept")
	}
}

// Where anybody may write, what stands for an address is nobody's word.
func TestAnybodyWrites(t *testing.T) {
	s, log := newStore(t)
	if err := s.keep.put(hashOf(module(1)), module(1)); err != nil {
		t.Fatal(err)
	}
	const address, digest = "https://modules.example/a.wasm", "oci://registry.example/a@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for _, a := range []string{address, strings.TrimPrefix(digest, "oci://registry.example/a@")} {
		if err := s.keep.note(a, entry{SHA256: hashOf(module(1))}); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range []string{address, digest} {
		if code, err := s.Last(a); err != nil || !bytes.Equal(code, module(1)) {
			t.Error(a, err)
		}
	}
	for _, at := range []string{s.keep.dir, filepath.Dir(s.keep.dir), s.o.StateDir} {
		for mode, ok := range map[os.FileMode]bool{0o777: false, 0o770: true, 0o700: true} {
			if err := os.Chmod(at, mode); err != nil {
				t.Fatal(err)
			}
			for _, a := range []string{address, digest} {
				if _, err := s.Last(a); (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "others may write to it") {
					t.Errorf("%s with %v: %s: %v", at, mode, a, err)
				}
			}
			if err := s.keep.note(address, entry{SHA256: hashOf(module(1))}); (err == nil) != ok {
				t.Errorf("%s with %v: %v", at, mode, err)
			}
			get(t, s, address, hashOf(module(1)), 1) // who knows the hash needs nobody's word
		}
		if err := os.Chmod(at, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if log.String() != "" {
		t.Error(log)
	}
}

// Where the owner of state_dir has put links, root gives nothing away that is not his.
func TestOwnerLinks(t *testing.T) {
	s, _ := newStore(t)
	out := t.TempDir()
	file := filepath.Join(out, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(s.keep.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(s.o.StateDir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	link := s.keep.file(temporary + "1")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	s.keep.give(link)
	if err := os.RemoveAll(s.keep.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(out, s.keep.dir); err != nil {
		t.Fatal(err)
	}
	s.keep.give(s.keep.file("file"))
	for _, path := range []string{out, file} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != os.Geteuid() {
			t.Errorf("%s belongs to %d", path, st.Uid)
		}
	}
}

// Whoever pulls, the files belong to whom the folder does: a node seldom runs as root.
func TestOwner(t *testing.T) {
	s, _ := newStore(t)
	if err := os.Mkdir(s.o.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	uid := os.Geteuid()
	if uid == 0 {
		uid = 65534
		if err := os.Chown(s.o.StateDir, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.keep.put(hashOf(module(1)), module(1)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Dir(s.keep.dir), s.keep.dir, s.keep.file(hashOf(module(1)) + ".wasm")} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != uid {
			t.Errorf("%s belongs to %d", path, st.Uid)
		}
	}
}
