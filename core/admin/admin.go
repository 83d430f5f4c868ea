// Package admin answers the operator's side of a node: health, metrics, and what is running. It has a listener of its own.
package admin

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/weirproxy/weir/core/observe"
	"github.com/weirproxy/weir/core/plan"
)

// Options are what the admin side shows and may ask for.
type Options struct {
	Token   string // asked for as a bearer token, everywhere but on /health and /health/ready; "" asks for none
	Metrics *observe.Metrics
	Health  *observe.Health
	Plan    func() *plan.Plan // the plan of the moment; its plain data only is read
	Reload  func() error
}

// Server is the admin listener. net/http serves it: nothing here is on the path of a request.
type Server struct {
	o    Options
	http *http.Server
	ln   net.Listener
	done chan struct{}
}

// Listen binds the address and serves. network is tcp or unix.
func Listen(network, address string, o Options) (*Server, error) {
	ln, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	s := &Server{o: o, ln: ln, done: make(chan struct{})}
	s.http = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(ln)
	}()
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Close ends it; answers under way get a second.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-s.done
	return err
}

func (s *Server) handler() http.Handler {
	open, closed := http.NewServeMux(), http.NewServeMux()
	open.HandleFunc("GET /health", s.health)
	open.HandleFunc("GET /health/ready", s.ready)
	open.Handle("/", s.authorised(closed))
	closed.HandleFunc("GET /metrics", s.metrics)
	closed.HandleFunc("GET /metrics/prometheus", s.metrics)
	closed.HandleFunc("GET /routes", s.routes)
	closed.HandleFunc("GET /upstreams", s.upstreams)
	closed.HandleFunc("POST /reload", s.reload)
	closed.HandleFunc("/debug/pprof/", pprof.Index)
	closed.HandleFunc("/debug/pprof/profile", pprof.Profile)
	closed.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return open
}

func (s *Server) authorised(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if s.o.Token != "" && subtle.ConstantTimeCompare([]byte(given), []byte(s.o.Token)) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "Unauthorized", "message": "admin token required"})
			return
		}
		next.ServeHTTP(w, r)
	})
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
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(s.o.Metrics.AppendText(nil))
}

type routeView struct {
	Name     string   `json:"name"`
	Hosts    []string `json:"hosts,omitempty"`
	Path     string   `json:"path,omitempty"`
	Methods  []string `json:"methods,omitempty"`
	Filters  []string `json:"filters,omitempty"`
	Upstream string   `json:"upstream,omitempty"`
}

func (s *Server) routes(w http.ResponseWriter, _ *http.Request) {
	p := s.o.Plan()
	all := make([]routeView, len(p.Routes))
	for i := range p.Routes {
		c := &p.Spec.Routes[i]
		all[i] = routeView{Name: c.Name, Hosts: c.Match.Hosts, Path: c.Match.Path, Methods: c.Match.Methods, Upstream: c.Upstream}
		for _, f := range p.Routes[i].Chain {
			all[i].Filters = append(all[i].Filters, f.Name)
		}
	}
	writeJSON(w, http.StatusOK, all)
}

type endpointView struct {
	Upstream string `json:"upstream"`
	Address  string `json:"address"`
	Breaker  string `json:"breaker,omitempty"`
	Requests int64  `json:"requests"`
	Failures int64  `json:"failures"`
	Opened   int64  `json:"connections_opened"`
}

func (s *Server) upstreams(w http.ResponseWriter, _ *http.Request) {
	p := s.o.Plan()
	var all []endpointView
	for _, u := range p.Upstreams {
		for _, e := range u.Endpoints() {
			v := endpointView{Upstream: u.Name, Address: e.Name}
			v.Requests, v.Failures, v.Opened = e.Stats()
			if e.Breaker != nil {
				v.Breaker = e.Breaker.State().String()
			}
			all = append(all, v)
		}
	}
	writeJSON(w, http.StatusOK, all)
}

func (s *Server) reload(w http.ResponseWriter, _ *http.Request) {
	if err := s.o.Reload(); err != nil {
		writeJSON(w, http.StatusUnprocessableEntity, map[string]string{"status": "refused", "message": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "reloaded"})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v)
}
