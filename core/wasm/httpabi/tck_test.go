package httpabi

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/http-wasm/http-wasm-host-go/tck"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wire"
)

// TestTCK runs the public conformance kit over both versions of HTTP. The server around the filter is net/http's: weir's
// own refuses TRACE, which the kit sends.
func TestTCK(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			f := open(t, tck.GuestWASM, func(o *Options) { o.Instances = 8 })
			s := httptest.NewUnstartedServer(&host{f: f, next: tck.BackendHandler()})
			s.EnableHTTP2 = version == "HTTP/2.0"
			if s.EnableHTTP2 {
				s.StartTLS()
			} else {
				s.Start()
			}
			t.Cleanup(s.Close)
			t.Run("kit", func(t *testing.T) { tck.Run(t, s.Client(), s.URL) })
		})
	}
}

// host is a small proxy around one filter.
type host struct {
	f    *Filter
	next http.Handler
}

type stream struct{ r io.Reader }

func (r stream) Read(p []byte) (int, error) { return r.r.Read(p) }
func (r stream) Whole() bool                { return false }

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := exchange.Acquire()
	defer exchange.Release(x)
	q := &x.Request
	q.Method, q.Target, q.Host = []byte(r.Method), []byte(r.RequestURI), []byte(r.Host)
	q.Version = 10*r.ProtoMajor + r.ProtoMinor
	if err := wire.Normalise(q); err != nil {
		w.WriteHeader(400)
		return
	}
	for name, values := range r.Header {
		for _, v := range values {
			if name != "Content-Length" {
				q.Header.Add([]byte(name), []byte(v))
			}
		}
	}
	q.Body.Init(r.ContentLength, stream{r.Body})
	x.Client.Peer = netip.MustParseAddrPort(r.RemoteAddr)
	verdict, err := h.f.Request(x, 0)
	if err == nil && verdict == filter.Continue {
		h.forward(x)
		_, err = h.f.Response(x, 0, false)
	}
	if err != nil {
		w.WriteHeader(fault.KindOf(err).Status())
		_, _ = io.WriteString(w, err.Error())
		return
	}
	p := &x.Response
	for i := range p.Header.Len() {
		w.Header().Add(string(p.Header.At(i).Name), string(p.Header.At(i).Value))
	}
	w.WriteHeader(p.Status)
	buf := make([]byte, 1024)
	for {
		b, err := p.Body.Next(buf)
		if err != nil {
			return
		}
		_, _ = w.Write(b)
	}
}

func (h *host) forward(x *exchange.Exchange) {
	q := &x.Request
	var body strings.Builder
	buf := make([]byte, 1024)
	for {
		b, err := q.Body.Next(buf)
		if err != nil {
			break
		}
		body.Write(b)
	}
	r := httptest.NewRequest(string(q.Method), string(q.Target), strings.NewReader(body.String()))
	for i := range q.Header.Len() {
		r.Header.Add(string(q.Header.At(i).Name), string(q.Header.At(i).Value))
	}
	rec := httptest.NewRecorder()
	h.next.ServeHTTP(rec, r)
	p := &x.Response
	p.Status, p.Declared = rec.Code, -1
	for name, values := range rec.Header() {
		for _, v := range values {
			p.Header.Add([]byte(name), []byte(v))
		}
	}
	p.Body.Init(int64(rec.Body.Len()), nil)
	if rec.Body.Len() > 0 {
		p.Body.Replace(rec.Body.Bytes())
	}
}
