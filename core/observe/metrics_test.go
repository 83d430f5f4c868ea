package observe

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/metric"
	"github.com/weirproxy/weir/core/metric/metrictest"
)

func page(t *testing.T, m *Metrics) *metrictest.Page {
	t.Helper()
	text := m.AppendText(nil)
	p, err := metrictest.Parse(text, "go_sched_latencies_seconds", "go_gc_pauses_seconds")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

func expect(t *testing.T, p *metrictest.Page, want map[string]float64) {
	t.Helper()
	for name, v := range want {
		if got, ok := p.Samples[name]; !ok || got != v {
			t.Errorf("%s: got %v %v, want %v", name, got, ok, v)
		}
	}
}

func TestNames(t *testing.T) {
	m := NewMetrics(Build{Version: "1.2.3", Revision: "abc"})
	l := m.Lease()
	defer l.Close()
	x := sample()
	defer exchange.Release(x)
	r := l.Route("chat")
	r.Record(x)
	x.Request.Method, x.Response.Status = []byte("BREW"), 0
	x.Record.Fault = fault.ClientGone
	r.Record(x)
	x.Record.Fault = fault.None
	r.Record(x)

	l.Rule("chat", "per-ip").Inc()
	l.Connections(":8080", "active", func() float64 { return 7 })
	e := l.Endpoint("api", "10.0.0.1:9000", func() float64 { return 2 }, func() float64 { return 1 })
	e.Requests.Add(4)
	e.Errors.Inc(int(fault.UpstreamReset))
	l.Endpoint("api", "plain", nil, nil)
	spent := metric.NewSpread()
	spent.Observe(time.Microsecond)
	f := l.Filter("tagger", FilterOptions{
		Phases: []string{"request", "response"}, Kinds: []string{"trap"},
		Instances: func() float64 { return 3 }, Memory: func() float64 { return 65536 },
		Calls: []string{"request_headers", "tick"}, CPU: func(call int) *metric.Spread { return []*metric.Spread{spent, nil}[call] },
	})
	f.Calls.Inc(1)
	f.Calls.Inc(9)
	f.Errors.Inc(0)
	f.Traps.Inc()
	f.BudgetStops.Inc()
	l.Log("access", MustWriter(t, WriterOptions{To: io.Discard}))
	m.Fault(fault.HeaderTooLarge)
	m.Fault(fault.None)

	p := page(t, m)
	expect(t, p, map[string]float64{
		`http_requests_total{route="chat",method="POST",code="2xx"}`:                                1,
		`http_requests_total{route="chat",method="OTHER",code="4xx"}`:                               1,
		`http_requests_total{route="chat",method="OTHER",code="none"}`:                              1,
		`http_request_duration_seconds_bucket{route="chat",method="POST",code="2xx",le="0.01"}`:     0,
		`http_request_duration_seconds_bucket{route="chat",method="POST",code="2xx",le="0.025"}`:    1,
		`http_request_duration_seconds_count{route="chat",method="POST",code="2xx"}`:                1,
		`weir_http_bytes_total{route="chat",direction="in"}`:                                        30,
		`weir_http_bytes_total{route="chat",direction="out"}`:                                       60,
		`rate_limit_exceeded_total{route="chat",rule="per-ip"}`:                                     1,
		`circuit_breaker_state{upstream="api",endpoint="10.0.0.1:9000"}`:                            2,
		`weir_upstream_requests_total{upstream="api",endpoint="10.0.0.1:9000"}`:                     4,
		`weir_upstream_errors_total{upstream="api",endpoint="10.0.0.1:9000",kind="upstream_reset"}`: 1,
		`weir_connections{listener=":8080",state="active"}`:                                         7,
		`weir_filter_calls_total{filter="tagger",phase="response"}`:                                 1,
		`weir_filter_calls_total{filter="tagger",phase="other"}`:                                    1,
		`weir_filter_errors_total{filter="tagger",kind="trap"}`:                                     1,
		`weir_filter_traps_total{filter="tagger"}`:                                                  1,
		`weir_filter_budget_stops_total{filter="tagger"}`:                                           1,
		`weir_filter_instances{filter="tagger"}`:                                                    3,
		`weir_filter_memory_bytes{filter="tagger"}`:                                                 65536,
		`weir_filter_cpu_seconds_count{filter="tagger",phase="request_headers"}`:                    1,
		`weir_filter_cpu_seconds_sum{filter="tagger",phase="request_headers"}`:                      1e-6,
		`weir_log_lines_dropped_total{log="access"}`:                                                0,
		`weir_fault_total{kind="client_gone",source="client"}`:                                      1,
		`weir_fault_total{kind="header_too_large",source="client"}`:                                 1,
	})
	if _, ok := p.Samples[`circuit_breaker_state{upstream="api",endpoint="plain"}`]; ok {
		t.Error("an endpoint without a breaker has a state")
	}
	if _, ok := p.Samples[`weir_filter_cpu_seconds_count{filter="tagger",phase="tick"}`]; ok {
		t.Error("a phase that never was is counted")
	}
	if p.Types["go_goroutines"] != "gauge" || p.Types["weir_build_info"] != "gauge" {
		t.Error(p.Types)
	}
}

// What is counted elsewhere stands in the text, between our own metrics and those of the process.
func TestAlso(t *testing.T) {
	m := NewMetrics(Build{})
	m.Also(func(dst []byte) []byte { return append(dst, "# HELP one One.\n# TYPE one counter\none 1\n"...) })
	m.Also(func(dst []byte) []byte { return append(dst, "# HELP two Two.\n# TYPE two gauge\ntwo{a=\"b\"} 2\n"...) })
	expect(t, page(t, m), map[string]float64{"one": 1, `two{a="b"}`: 2, "weir_config_last_reload_successful": 1})
}

func TestReload(t *testing.T) {
	m := NewMetrics(Build{})
	began := page(t, m).Samples["weir_config_last_reload_success_timestamp_seconds"]
	f := func(err error, attempts, errs, ok float64) {
		t.Helper()
		m.Reload(err)
		expect(t, page(t, m), map[string]float64{
			"weir_reload_attempts_total": attempts, "weir_reload_errors_total": errs, "weir_config_last_reload_successful": ok,
		})
	}
	f(errors.New("bad"), 1, 1, 0)
	if page(t, m).Samples["weir_config_last_reload_success_timestamp_seconds"] != began || began == 0 {
		t.Error("a failed reload counts as the last success")
	}
	f(nil, 2, 1, 1)
}

// A plan that gives way to another one hands its counts over, also of series that only it has touched; what the new one no
// longer names is gone when the old one is.
func TestLeases(t *testing.T) {
	m := NewMetrics(Build{})
	x := sample()
	defer exchange.Release(x)
	old := m.Lease()
	old.Route("kept").Record(x)
	late := old.Route("gone")
	late.Record(x)
	old.Endpoint("u", "e", nil, nil).Errors.Inc(1)
	gone := old.Filter("f", FilterOptions{})
	gone.Calls.Inc(0)

	next := m.Lease()
	kept := next.Route("kept")
	next.Endpoint("u", "e", nil, nil)
	old.Close()
	old.Close()
	kept.Record(x)
	x.Request.Method = []byte("GET")
	late.Record(x) // a stream that outlives its plan
	gone.Calls.Inc(3)
	p := page(t, m)
	expect(t, p, map[string]float64{
		`http_requests_total{route="kept",method="POST",code="2xx"}`:               2,
		`weir_upstream_errors_total{upstream="u",endpoint="e",kind="bad_request"}`: 1,
	})
	for _, name := range []string{
		`http_requests_total{route="gone",method="POST",code="2xx"}`, `http_requests_total{route="gone",method="GET",code="2xx"}`,
		`weir_http_bytes_total{route="gone",direction="in"}`, `weir_filter_calls_total{filter="f",phase="other"}`,
	} {
		if _, ok := p.Samples[name]; ok {
			t.Error("still there: " + name)
		}
	}
	next.Close()
	for name := range page(t, m).Samples {
		if strings.HasPrefix(name, "http_") || strings.HasPrefix(name, "weir_filter") {
			t.Error("still there: " + name)
		}
	}
	if len(m.routes)+len(m.endpoints)+len(m.filtered) != 0 {
		t.Error("the shelves are not empty")
	}
}

func TestMethods(t *testing.T) {
	for i, m := range methods {
		if methodIndex([]byte(m)) != i {
			t.Error(m)
		}
	}
	if methodIndex([]byte("get")) != len(methods)-1 || classIndex(42) != 0 || classIndex(999) != 0 || classIndex(599) != 5 {
		t.Error("what clients make up makes up series")
	}
}

// No request is lost between plans that come and go.
func TestMetricsHammer(t *testing.T) {
	m := NewMetrics(Build{})
	base := m.Lease()
	route := base.Route("r")
	const workers, rounds = 4, 300
	var g sync.WaitGroup
	for i := range workers {
		g.Go(func() {
			x := sample()
			defer exchange.Release(x)
			x.Request.Method = []byte(methods[i])
			for range rounds {
				l := m.Lease()
				l.Route("r").Record(x)
				l.Route("passing").Record(x)
				l.Rule("r", "x").Inc()
				l.Filter("f", FilterOptions{Instances: func() float64 { return 1 }}).Traps.Inc()
				route.Record(x)
				l.Close()
			}
		})
	}
	g.Go(func() {
		for range 20 {
			page(t, m)
		}
	})
	g.Wait()
	p := page(t, m)
	for i := range workers {
		expect(t, p, map[string]float64{`http_requests_total{route="r",method="` + methods[i] + `",code="2xx"}`: 2 * rounds})
	}
	base.Close()
	if len(m.routes) != 0 {
		t.Error("a route is left")
	}
}
