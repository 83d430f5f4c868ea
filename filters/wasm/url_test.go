package wasm

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/config"
	modules "github.com/weirproxy/weir/core/wasm/source"
)

// serveAll changes the addresses of a configuration to those of a server that is there, and its pins and digests to those of a
// guest that is there.
func serveAll(t *testing.T, s *config.Spec) *modules.Store {
	t.Helper()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(guest()) }))
	t.Cleanup(srv.Close)
	state := t.TempDir()
	sum := sha256.Sum256(guest())
	hash := hex.EncodeToString(sum[:])
	kept := filepath.Join(state, "wasm", "modules")
	if err := os.MkdirAll(kept, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(kept, hash+".wasm"), guest(), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range s.Wasm {
		f := &s.Wasm[i]
		u, err := url.Parse(f.URL)
		if err != nil {
			t.Fatal(err)
		}
		switch u.Scheme {
		case "https":
			f.URL = srv.URL + u.Path
		case "oci":
			before, _, _ := strings.Cut(f.URL, "@")
			f.URL = before + "@sha256:" + hash
		}
		if f.SHA256 != "" {
			f.SHA256 = hash
		}
	}
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	return modules.New(modules.Options{StateDir: state, Roots: roots, Log: zerolog.Nop()})
}

// A module from a server: asked for once a reload, warm while it is the same, another filter when it is another, and the last
// good one when the server is gone.
func TestURL(t *testing.T) {
	var code atomic.Pointer[[]byte]
	var asked atomic.Int64
	give := func(b []byte) { code.Store(&b) }
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write(*code.Load())
	}))
	defer srv.Close()
	for _, state := range []string{t.TempDir(), ""} {
		asked.Store(0)
		store := modules.New(modules.Options{
			StateDir: state, Roots: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, Log: zerolog.Nop(),
		})
		k := newKind(t, Options{Modules: store})
		give(guest())
		read := func() *config.Spec {
			return spec(t, t.TempDir(), `f: {url: "`+srv.URL+`/f.wasm", config: one}`, "f", "f, {filter: f, config: two}")
		}
		first := build(k, read())
		if err := first.errs.Err(); err != nil {
			t.Fatal(err)
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("asked %d times for one plan", n)
		}
		same := build(k, read())
		if first.of(0, 0) != same.of(0, 0) {
			t.Error("made anew")
		}
		give(append(guest(), 0, 2, 1, 'x'))
		changed := build(k, read())
		if err := changed.errs.Err(); err != nil || changed.of(0, 0) == same.of(0, 0) || changed.says(t, 0, 0) != "one" {
			t.Error("the old module goes on", err)
		}
		give([]byte("<html>"))
		broken := build(k, read())
		if err := broken.errs.Err(); err != nil || broken.of(0, 0) != changed.of(0, 0) {
			t.Error("the last good module does not go on", err)
		}
		if n := asked.Load(); n != 4 {
			t.Errorf("asked %d times for four plans", n)
		}
		for _, p := range []*plan{first, same, changed, broken} {
			p.close(t)
		}
		for _, f := range k.Filters() {
			t.Errorf("%+v", f)
		}
	}
}
