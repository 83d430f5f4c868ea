package observe

import (
	"bytes"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	vm "github.com/VictoriaMetrics/metrics"

	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/metric"
)

// Build says which program this is.
type Build struct{ Version, Revision string }

// Metrics holds everything that is counted. Any goroutine may use it. What is named by a configuration is reached
// through a Lease.
type Metrics struct {
	registry *metric.Registry

	requests     metric.Callbacks
	durations    metric.Histograms
	bytes        metric.Counters
	limited      metric.Counters
	mirrored     metric.Counters
	breaker      metric.Callbacks
	usable       metric.Callbacks
	panics       metric.Callbacks
	inFlight     metric.Callbacks
	waiting      metric.Callbacks
	tries        metric.Counters
	tryErrors    metric.Counters
	retries      metric.Callbacks
	connections  metric.Callbacks
	calls        metric.Counters
	traps        metric.Counters
	stops        metric.Counters
	filterErrors metric.Counters
	instances    metric.Callbacks
	memory       metric.Callbacks
	stopped      metric.Callbacks
	filterCPU    metric.Spreads
	dropped      metric.Callbacks

	faults                              *metric.Indexed
	reloads, reloadErrors               *metric.Counter
	reloaded, reloadedAt                atomic.Int64 // 1 or 0; Unix seconds
	mu                                  sync.Mutex
	routes, endpoints, filtered, copies shelf                 // under mu
	also                                []func([]byte) []byte // under mu
}

// durations are the upper bounds of http_request_duration_seconds; fourteen, since that many fill whole cache lines.
var durations = []time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// NewMetrics makes an empty set. The last reload counts as successful: the configuration that the process began with.
func NewMetrics(b Build) *Metrics {
	// The library writes its metadata only if told so, for the whole process.
	vm.ExposeMetadata(true)
	r := metric.NewRegistry()
	m := &Metrics{
		registry:     r,
		requests:     r.CounterCallbacks("http_requests_total", "Requests answered, by the class of the status code.", "route", "method", "code"),
		durations:    r.Histograms("http_request_duration_seconds", "Time from a request's first byte to the last of its answer.", durations, "route", "method", "code"),
		bytes:        r.Counters("weir_http_bytes_total", "Body bytes from (in) and to (out) clients.", "route", "direction"),
		limited:      r.Counters("rate_limit_exceeded_total", "Requests that a limit refused.", "route", "rule"),
		mirrored:     r.Counters("weir_mirrored_requests_total", "Copies of requests for another upstream, by what became of them.", "route", "outcome"),
		breaker:      r.Gauges("circuit_breaker_state", "0 closed, 1 half-open, 2 open.", "upstream", "endpoint"),
		usable:       r.Gauges("weir_upstream_endpoint_usable", "1 if an endpoint is healthy and not ejected.", "upstream", "endpoint"),
		panics:       r.Gauges("weir_upstream_panic", "1 while too few endpoints are usable and all are used.", "upstream"),
		inFlight:     r.Gauges("weir_upstream_requests_in_flight", "Requests that are with an upstream.", "upstream"),
		waiting:      r.Gauges("weir_upstream_requests_waiting", "Requests in an upstream's queue, above max_in_flight.", "upstream"),
		tries:        r.Counters("weir_upstream_requests_total", "Requests sent to an endpoint, retries included.", "upstream", "endpoint"),
		tryErrors:    r.Counters("weir_upstream_errors_total", "Requests to an endpoint that failed.", "upstream", "endpoint", "kind"),
		retries:      r.CounterCallbacks("weir_upstream_retries_total", "Requests to an upstream that were sent once more after a failure.", "upstream"),
		connections:  r.Gauges("weir_connections", "Client connections.", "listener", "state"),
		calls:        r.Counters("weir_filter_calls_total", "Calls of a filter.", "filter", "phase"),
		traps:        r.Counters("weir_filter_traps_total", "Calls of a filter that ended in a trap.", "filter"),
		stops:        r.Counters("weir_filter_budget_stops_total", "Calls of a filter that were stopped because their budget was spent.", "filter"),
		filterErrors: r.Counters("weir_filter_errors_total", "Calls of a filter that failed.", "filter", "kind"),
		instances:    r.Gauges("weir_filter_instances", "Instances of a filter that are alive.", "filter"),
		memory:       r.Gauges("weir_filter_memory_bytes", "Linear memory of a filter's instances.", "filter"),
		stopped:      r.Gauges("weir_filter_stopped", "1 while a filter is not called since it failed too often.", "filter"),
		filterCPU:    r.Spreads("weir_filter_cpu_seconds", "CPU time of the calls of a filter's guest.", "filter", "phase"),
		dropped:      r.CounterCallbacks("weir_log_lines_dropped_total", "Log lines dropped because the log's reader was too slow or gone.", "log"),
	}
	faults := r.Counters("weir_fault_total", "Exchanges that failed, by what went wrong and whose doing it was.", "kind", "source")
	m.faults = metric.NewIndexed(func(i int) *metric.Counter {
		k := fault.Kind(i)
		return faults.Acquire(k.String(), k.Source().String())
	})
	m.reloads = r.Counters("weir_reload_attempts_total", "Readings of the configuration that were tried: the first one, and reloads.").Acquire()
	m.reloadErrors = r.Counters("weir_reload_errors_total", "Reloads that failed and changed nothing.").Acquire()
	r.Gauges("weir_config_last_reload_successful", "1 if the last reload succeeded.").
		Acquire(func() float64 { return float64(m.reloaded.Load()) })
	r.Gauges("weir_config_last_reload_success_timestamp_seconds", "When the configuration was last read with success.").
		Acquire(func() float64 { return float64(m.reloadedAt.Load()) })
	r.Gauges("weir_build_info", "Always 1; the labels say which build this is.", "version", "revision", "go").
		Acquire(func() float64 { return 1 }, b.Version, b.Revision, runtime.Version())
	m.reloaded.Store(1)
	m.reloadedAt.Store(time.Now().Unix())
	return m
}

// Registry is where an engine adds families of its own.
func (m *Metrics) Registry() *metric.Registry { return m.registry }

// Also has f append what is counted elsewhere to every text, as long as the process lives: whole families in Prometheus text
// format, of names that nobody else uses. Any goroutine may call f.
func (m *Metrics) Also(f func(dst []byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.also = append(m.also, f)
}

// Fault counts a fault that belongs to no exchange of a route; RouteMetrics.Record counts the others.
func (m *Metrics) Fault(k fault.Kind) {
	if k != fault.None {
		m.faults.Inc(int(k))
	}
}

// Reload counts a reload that has ended.
func (m *Metrics) Reload(err error) {
	m.reloads.Inc()
	if err != nil {
		m.reloadErrors.Inc()
		m.reloaded.Store(0)
		return
	}
	m.reloaded.Store(1)
	m.reloadedAt.Store(time.Now().Unix())
}

// AppendText appends all metrics, after our own those of Also, of the process and of the Go runtime, in Prometheus text format
// 0.0.4. Cold path: it allocates.
func (m *Metrics) AppendText(dst []byte) []byte {
	dst = m.registry.AppendText(dst)
	m.mu.Lock()
	also := m.also
	m.mu.Unlock()
	for _, f := range also {
		dst = f(dst)
	}
	var process bytes.Buffer
	vm.WriteProcessMetrics(&process)
	return append(dst, process.Bytes()...)
}

// ContentType is what AppendText's text is.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"
