package source

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A registry that lies, floods, sends elsewhere or never ends: every pull ends with an error of one short line, and nothing is
// kept.
func TestHostileRegistry(t *testing.T) {
	var serve atomic.Pointer[http.HandlerFunc]
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*serve.Load())(w, r) }))
	defer srv.Close()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("asked in the clear: %s, Authorization %q", r.URL, r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	s, log := newStore(t, func(o *Options) { o.Roots, o.Timeout = roots, 20*time.Second })
	host := strings.TrimPrefix(srv.URL, "https://")
	code := module(1)
	good := ocispec.Descriptor{MediaType: typeWasm, Digest: digest.FromBytes(code), Size: int64(len(code))}
	manifest := func(w http.ResponseWriter, layers ...ocispec.Descriptor) {
		b, _ := json.Marshal(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: layers})
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b)
	}
	// layered serves a manifest of one layer, and what f gives for it.
	layered := func(d ocispec.Descriptor, f http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				manifest(w, d)
				return
			}
			f(w, r)
		}
	}
	sized := func(size int64) ocispec.Descriptor { d := good; d.Size = size; return d }
	hashed := func(d string) ocispec.Descriptor { x := good; x.Digest = digest.Digest(d); return x }
	endless := func(w http.ResponseWriter, _ *http.Request) {
		zeros := make([]byte, 1<<20)
		for range 2 * s.most >> 20 {
			if _, err := w.Write(zeros); err != nil {
				return
			}
		}
	}
	f := func(name, ref, want string, h http.HandlerFunc) {
		t.Helper()
		serve.Store(&h)
		_, err := s.Pull(context.Background(), "oci://"+host+"/x"+ref, PullOptions{Username: "ann", Password: "secret"})
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\n\r\x1b") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: have %v\nwant %s", name, err, want)
		}
	}
	pinned := "@" + digest.FromString("other").String()
	f("a manifest without end", ":v1", "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		endless(w, r)
	})
	f("a manifest that says it is large", ":v1", "are too large, the most is 4194304", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Docker-Content-Digest", good.Digest.String())
		w.Header().Set("Content-Length", fmt.Sprint(int64(1)<<40))
		_, _ = w.Write([]byte("{"))
	})
	f("a manifest of another digest", pinned, "digest mismatch", func(w http.ResponseWriter, _ *http.Request) { manifest(w, good) })
	f("a manifest that says it is the one", pinned, "its manifest: mismatch", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Docker-Content-Digest", strings.TrimPrefix(pinned, "@"))
		manifest(w, good)
	})
	f("no manifest", ":v1", "its manifest is not JSON as it should be", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Length", "6")
		_, _ = io.WriteString(w, "<html>")
	})
	f("a manifest of nothing", ":v1", "its manifest lists no layers", func(w http.ResponseWriter, _ *http.Request) { manifest(w) })
	f("a layer of another digest", ":v1", "its layer: mismatch", layered(good, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(module(2)) }))
	f("a layer that is cut off", ":v1", "its layer: ", layered(good, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(code)))
		_, _ = w.Write(code[:5])
	}))
	f("a longer layer", ":v1", "its layer: ", layered(good, endless))
	f("a layer of 2^60 bytes", ":v1", "its layer is larger than 2 MiB", layered(sized(1<<60), endless))
	f("a layer of less than no bytes", ":v1", "its layer: ", layered(sized(-1), endless))
	f("a layer of no digest", ":v1", "its layer has a digest that is none", layered(hashed("../../../etc/passwd"), endless))
	f("a layer of an unknown digest", ":v1", "its layer has a digest that is none", layered(hashed("md5:d41d8cd98f00b204e9800998ecf8427e"), endless))
	f("a loop", ":v1", "more than 5 redirects", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	})
	f("a loop of layers", ":v1", "more than 5 redirects", layered(good, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path+"?"+r.URL.RawQuery+"x", http.StatusFound)
	}))
	f("a redirect into the clear", ":v1", "redirected from https to http://", layered(good, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusFound)
	}))
	f("a login in the clear", ":v1", "realm", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+elsewhere.URL+`/token",service="x"`)
		w.WriteHeader(401)
	})
	f("words that would paint a terminal", ":v1", "403", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(403)
		_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"\u001b[2J`+strings.Repeat("no\\n", 2000)+`"}]}`)
	})
	if got := names(t, s); len(got) != 0 {
		t.Error("kept:", got)
	}
	if log.String() != "" {
		t.Error(log)
	}
}

// Who never comes to an end is left, wherever he stops.
func TestSlowRegistry(t *testing.T) {
	for stop := range 3 {
		done := make(chan struct{})
		hang := func(r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-done:
			}
		}
		code := module(1)
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if stop == 0 {
				hang(r)
				return
			}
			if strings.Contains(r.URL.Path, "/manifests/") {
				b, _ := json.Marshal(ocispec.Manifest{Layers: []ocispec.Descriptor{{MediaType: typeWasm, Digest: digest.FromBytes(code), Size: int64(len(code))}}})
				w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
				w.Header().Set("Content-Length", fmt.Sprint(len(b)))
				if stop == 1 {
					_, _ = w.Write(b[:10])
					w.(http.Flusher).Flush()
					hang(r)
				}
				_, _ = w.Write(b)
				return
			}
			_, _ = w.Write(code[:3])
			w.(http.Flusher).Flush()
			hang(r)
		}))
		s, _ := newStore(t, func(o *Options) { o.Timeout = 100 * time.Millisecond })
		address := "oci://" + strings.TrimPrefix(srv.URL, "http://") + "/x:v1"
		_, err := s.Pull(context.Background(), address, plainHTTP)
		fails(t, err, "pull "+address+": it takes too long")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := s.Pull(ctx, address, plainHTTP); err == nil || !strings.Contains(err.Error(), "canceled") {
			t.Error(err)
		}
		close(done)
		srv.Close()
	}
}
