// Package admin answers the operator's side of a node: health, metrics, and what is running. It has a listener of its own.
package admin

import (
	"crypto/subtle"
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/observe"
	"github.com/weirproxy/weir/core/plan"
)

// Options are what the admin side shows and may ask for.
type Options struct {
	Token   string // the first one; see SetToken
	Metrics *observe.Metrics
	Health  *observe.Health
	Plan    func() *plan.Plan // the plan of the moment; its plain data only is read
	Reload  func() error
	Filters func() []filter.Status // the filters that are loaded, in no order; nil: there are none
}

// Server is the admin listener. net/http serves it: nothing here is on the path of a request.
type Server struct {
	o     Options
	token atomic.Pointer[string]
	http  *http.Server
	ln    net.Listener
	done  chan struct{}
	open  atomic.Int64
}

// Serve answers on ln, which it owns from now on.
func Serve(ln net.Listener, o Options) *Server {
	s := &Server{o: o, ln: ln, done: make(chan struct{})}
	s.SetToken(o.Token)
	s.http = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, ConnState: s.count}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(ln)
	}()
	return s
}

// SetToken says which bearer token is asked for from now on, everywhere but on /health and /health/ready; "" asks for none.
func (s *Server) SetToken(token string) { s.token.Store(&token) }

// Listener is what it accepts from, for a process that takes over.
func (s *Server) Listener() net.Listener { return s.ln }

// Addr is where it listens.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Close ends it. What has been accepted is answered, within a second: net/http's own Shutdown drops a request that it has just
// read.
func (s *Server) Close() error {
	_ = s.ln.Close()
	<-s.done
	s.http.SetKeepAlivesEnabled(false)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Second); s.open.Load() > 0 && time.Now().Before(deadline); {
		<-tick.C
	}
	return s.http.Close()
}

// count knows how many connections are open.
func (s *Server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.open.Add(-1)
	}
}

// page is one thing to ask for.
type page struct {
	method string // or several: GET, PUT
	open   bool   // without the token
	serve  http.HandlerFunc
}

func (s *Server) handler() http.Handler {
	pages := map[string]page{
		"/health":              {"GET", true, s.health},
		"/health/ready":        {"GET", true, s.ready},
		"/metrics":             {"GET", false, s.metrics},
		"/metrics/prometheus":  {"GET", false, s.metrics},
		"/routes":              {"GET", false, s.routes},
		"/upstreams":           {"GET", false, s.upstreams},
		"/filters":             {"GET", false, s.filters},
		"/certificates":        {"GET", false, s.certificates},
		"/reload":              {"POST", false, s.reload},
		"/debug/pprof/profile": {"GET", false, pprof.Profile},
		"/debug/pprof/trace":   {"GET", false, pprof.Trace},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := pages[r.URL.Path]
		if name, of := endpointsOf(r.URL.Path); of {
			p, ok = page{"GET, PUT, DELETE", false, func(w http.ResponseWriter, r *http.Request) { s.endpoints(w, r, name) }}, true
		}
		if !ok && strings.HasPrefix(r.URL.Path, "/debug/pprof/") {
			p, ok = page{"GET", false, pprof.Index}, true
		}
		switch {
		case !p.open && !s.authorised(r):
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeError(w, http.StatusUnauthorized, "admin token required")
		case !ok:
			writeError(w, http.StatusNotFound, "there is nothing here")
		case !slices.Contains(strings.Split(p.method, ", "), r.Method) && !(r.Method == "HEAD" && p.method == "GET"):
			w.Header().Set("Allow", p.method)
			writeError(w, http.StatusMethodNotAllowed, p.method+" only")
		default:
			p.serve(w, r)
		}
	})
}

func (s *Server) authorised(r *http.Request) bool {
	token := *s.token.Load()
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token == "" || ok && subtle.ConstantTimeCompare([]byte(given), []byte(token)) == 1
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(s.o.Health.AppendHealth(nil))
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	body, status := s.o.Health.AppendReady(nil)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", observe.ContentType)
	_, _ = w.Write(s.o.Metrics.AppendText(nil))
}

type routeView struct {
	Name     string   `json:"name"`
	Hosts    []string `json:"hosts,omitempty"`
	Path     string   `json:"path,omitempty"`
	Methods  []string `json:"methods,omitempty"`
	Filters  []string `json:"filters,omitempty"`
	Upstream string   `json:"upstream,omitempty"`

	// What a route has instead of, or beside, one upstream.
	Split    []shareView `json:"split,omitempty"`
	Mirror   *shareView  `json:"mirror,omitempty"`
	Respond  int         `json:"respond,omitempty"` // status
	Redirect string      `json:"redirect,omitempty"`
}

// shareView is an upstream that gets some of a route's requests, or copies of them.
type shareView struct {
	Upstream string  `json:"upstream"`
	Share    float64 `json:"share"` // of 1
}

func (s *Server) routes(w http.ResponseWriter, _ *http.Request) {
	p := s.o.Plan()
	all := make([]routeView, len(p.Routes))
	for i := range p.Routes {
		c := &p.Spec.Routes[i]
		all[i] = routeView{Name: c.Name, Hosts: c.Match.Hosts, Path: c.Match.Path, Methods: c.Match.Methods, Upstream: c.Upstream}
		all[i].show(c)
		for _, f := range p.Routes[i].Chain {
			all[i].Filters = append(all[i].Filters, f.Name)
		}
	}
	writeJSON(w, http.StatusOK, all)
}

// show says where the requests of c go, if not simply to an upstream.
func (v *routeView) show(c *config.Route) {
	sum := 0
	for _, s := range c.Split {
		sum += s.Weight
	}
	for _, s := range c.Split {
		v.Split = append(v.Split, shareView{s.Upstream, float64(s.Weight) / float64(sum)})
	}
	if c.Mirror != nil {
		v.Mirror = &shareView{c.Mirror.Upstream, c.Mirror.Share}
	}
	if c.Respond != nil {
		v.Respond = c.Respond.Status
	}
	if c.Redirect != nil {
		v.Redirect = c.Redirect.To
	}
}

func (s *Server) reload(w http.ResponseWriter, _ *http.Request) {
	if err := s.o.Reload(); err != nil {
		writeJSON(w, http.StatusUnprocessableEntity, map[string]string{"status": "refused", "message": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "reloaded"})
}

// writeError answers as weir does to its clients.
func writeError(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Error   string `json:"error"`
		Message string `json:"message"`
	}{http.StatusText(status), message})
}

// writeJSON answers with what people look at, too.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v)
}
