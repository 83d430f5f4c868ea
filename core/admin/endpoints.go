package admin

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/weirproxy/weir/core/plan"
	"github.com/weirproxy/weir/core/upstream"
)

// endpointView is an endpoint as it is shown. Fields that do not apply are left out.
type endpointView struct {
	Upstream   string          `json:"upstream,omitempty"`
	Address    string          `json:"address"`
	URL        string          `json:"url"`
	Source     upstream.Source `json:"source"`
	Weight     int64           `json:"weight"`
	Share      float64         `json:"share"` // of its weight that it gets now: below 1 during a slow start
	Priority   int             `json:"priority,omitempty"`
	Usable     bool            `json:"usable"` // healthy and not ejected
	Health     string          `json:"health,omitempty"`
	Reason     string          `json:"reason,omitempty"` // why the last check failed
	EjectedFor string          `json:"ejected_for,omitempty"`
	Breaker    string          `json:"breaker,omitempty"`
	InFlight   int64           `json:"in_flight"`
	Requests   int64           `json:"requests"`
	Failures   int64           `json:"failures"`
	Opened     int64           `json:"connections_opened"`
}

func viewOf(e *upstream.EndpointStatus) endpointView {
	v := endpointView{
		Address: e.Name, URL: e.URL, Source: e.Source, Weight: e.Weight, Share: math.Round(e.Share*100) / 100, Priority: e.Priority,
		Usable: e.Usable, Health: e.Health, Reason: e.Reason, Breaker: e.Breaker,
		InFlight: e.InFlight, Requests: e.Requests, Failures: e.Failures, Opened: e.Opened,
	}
	if e.EjectedFor > 0 {
		v.EjectedFor = e.EjectedFor.Round(time.Millisecond).String()
	}
	return v
}

// upstreamView is the endpoints of one upstream and what there is to say of all of them.
type upstreamView struct {
	Upstream  string         `json:"upstream"`
	Set       bool           `json:"set"`   // by the operator; DELETE goes back to the configuration
	Panic     bool           `json:"panic"` // so few are usable that all are used
	Problems  []string       `json:"problems,omitempty"`
	Endpoints []endpointView `json:"endpoints"`
}

// upstreams shows the endpoints of all upstreams in one list.
func (s *Server) upstreams(w http.ResponseWriter, _ *http.Request) {
	all := []endpointView{}
	for _, u := range s.o.Plan().Upstreams {
		st := u.Status()
		for i := range st.Endpoints {
			v := viewOf(&st.Endpoints[i])
			v.Upstream = u.Name
			all = append(all, v)
		}
	}
	writeJSON(w, http.StatusOK, all)
}

// endpointsOf gives the name in /upstreams/{name}/endpoints.
func endpointsOf(path string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/upstreams/")
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(rest, "/endpoints")
	return name, ok && name != "" && !strings.Contains(name, "/")
}

// endpoints shows the endpoints of one upstream and lets the operator set others: PUT of a list sets all of them, PUT of one
// adds it or changes its weight, DELETE with url takes one out, DELETE without goes back to the configuration.
func (s *Server) endpoints(w http.ResponseWriter, r *http.Request, name string) {
	var u *plan.Upstream
	for _, p := range s.o.Plan().Upstreams {
		if p.Name == name {
			u = p
		}
	}
	if u == nil {
		writeError(w, http.StatusNotFound, "there is no upstream of that name")
		return
	}
	var err error
	switch url := r.URL.Query().Get("url"); {
	case r.Method == "PUT":
		err = putEndpoints(w, r, u)
	case r.Method == "DELETE" && r.URL.Query().Has("url"):
		err = u.RemoveEndpoint(url)
	case r.Method == "DELETE" && r.URL.RawQuery != "":
		err = errors.New("the only parameter is url")
	case r.Method == "DELETE":
		u.ResetEndpoints()
	}
	if err != nil {
		writeError(w, statusOf(err), err.Error())
		return
	}
	st := u.Status()
	v := upstreamView{Upstream: name, Set: st.Set, Panic: st.Panics, Problems: st.Problems, Endpoints: []endpointView{}}
	for i := range st.Endpoints {
		v.Endpoints = append(v.Endpoints, viewOf(&st.Endpoints[i]))
	}
	writeJSON(w, http.StatusOK, v)
}

// putEndpoints takes a list as it is, and what is no list as one more.
func putEndpoints(w http.ResponseWriter, r *http.Request, u *plan.Upstream) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		return err
	}
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return errors.New(`the body is a list of endpoints such as ["http://10.0.0.1:9000"], or one: {"url": "http://10.0.0.1:9000", "weight": 2}`)
	}
	if body[0] == '[' {
		return u.SetEndpoints(body)
	}
	return u.AddEndpoints(append(append([]byte{'['}, body...), ']'))
}

// statusOf is the status for an error of setting endpoints.
func statusOf(err error) int {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, upstream.ErrNoTarget):
		return http.StatusNotFound
	case errors.Is(err, upstream.ErrLast), errors.Is(err, upstream.ErrFixed):
		return http.StatusConflict
	}
	return http.StatusUnprocessableEntity
}
