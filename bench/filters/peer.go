package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/http-wasm/http-wasm-host-go/handler"
	wasm "github.com/http-wasm/http-wasm-host-go/handler/nethttp"
	"github.com/tetratelabs/wazero"
)

// peer serves the request of the first table with net/http, past a guest in the host of http-wasm that Traefik's plugins run
// on, set up as Traefik does: one middleware around the next handler. Without code there is the handler alone.
func (s *stand) peer(name string, code []byte) (*turn, error) {
	ctx := context.Background()
	last := ""
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last = r.Header.Get("X-Tag")
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusOK)
	})
	if code != nil {
		// Reactors want _initialize; the start function that wazero calls by itself is that of commands.
		m, err := wasm.NewMiddleware(ctx, code, handler.ModuleConfig(wazero.NewModuleConfig().WithStartFunctions("_initialize")))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		s.closers = append(s.closers, func() error { return m.Close(ctx) })
		h = m.NewHandler(ctx, h)
	}
	r := httptest.NewRequest(http.MethodGet, simple[0].target, nil)
	serve := func() *httptest.ResponseRecorder {
		clear(r.Header)
		for _, f := range simple[0].fields {
			r.Header.Set(f[0], f[1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	w := serve()
	if code != nil && (last != "a value" || w.Header().Get("X-Tag") != "weir") {
		return nil, fmt.Errorf("%s: the request has %q, the answer %q", name, last, w.Header().Get("X-Tag"))
	}
	return &turn{name: name, run: func(n int) error {
		for range n {
			if w := serve(); w.Code != http.StatusOK {
				return fmt.Errorf("%s: status %d", name, w.Code)
			}
		}
		return nil
	}}, nil
}
