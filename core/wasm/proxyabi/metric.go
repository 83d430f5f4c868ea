package proxyabi

import (
	"regexp"
	"sync/atomic"

	"github.com/weirproxy/weir/core/wasm"
)

var metricFunctions = []wasm.HostFunc{
	function("proxy_define_metric", "iiii", defineMetric),
	function("proxy_record_metric", "iI", recordMetric),
	function("proxy_increment_metric", "iI", incrementMetric),
	function("proxy_get_metric", "ii", getMetric),
}

// Tag is a label of metrics that guests define. Pattern is searched in a metric's name as Envoy has it, with wasmcustom. before
// it: what the first group matches is cut out of the name, what the second matches, or the first if there is no other, is the
// label's value.
type Tag struct {
	Name    string
	Pattern *regexp.Regexp
}

// Kinds of metrics, as guests number them.
const (
	metricCounter = iota
	metricGauge
	metricHistogram
	metricKinds
)

// Bounds on the metrics of one scope: guests make names of what clients send.
const (
	seriesMost = 10_000
	nameMost   = 1 << 10
)

// bounds are the histograms' upper bounds: those that Envoy renders when nothing else is configured. The first is half of one
// there, which is the same for whole numbers.
var bounds = [...]uint64{
	0, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000, 3_600_000,
}

// series is one metric, of all VMs that define it. Its values may be counted by any goroutine.
type series struct {
	kind   int
	name   string
	family *family // nil: it is one too many, and counts nothing
	labels string  // as rendered, without braces
	refs   int     // spaces; under the metrics' mu

	value   atomic.Uint64 // a counter's or gauge's; a histogram's sum
	buckets []atomic.Uint64
}

func (s *series) observe(v uint64) {
	i := 0
	for i < len(bounds) && v > bounds[i] {
		i++
	}
	s.buckets[i].Add(1)
	s.value.Add(v)
}

// table is the metrics that a shard's guest knows. The shard's mutex guards it.
type table struct {
	ids   [metricKinds]map[string]uint32
	all   []*series // by id, which begin at 1
	spare [metricKinds]uint32
}

func (t *table) get(id uint64) *series {
	if i := u32(id) - 1; i < uint32(len(t.all)) {
		return t.all[i]
	}
	return nil
}

func (t *table) add(s *series) uint32 {
	t.all = append(t.all, s)
	id := uint32(len(t.all))
	if s.family == nil {
		t.spare[s.kind] = id
		return id
	}
	if t.ids[s.kind] == nil {
		t.ids[s.kind] = map[string]uint32{}
	}
	t.ids[s.kind][s.name] = id
	return id
}

// defineMetric is proxy_define_metric (type, name, length, id*). The Rust SDK bears no error: a metric too many is one that
// counts nothing.
func defineMetric(sh *shard, a []uint64) status {
	kind := u32(a[0])
	if kind >= metricKinds {
		return statusBadArgument
	}
	name, ok := sh.read(a[1], a[2])
	if !ok {
		return statusInvalidMemory
	}
	t := &sh.table
	name = name[:min(len(name), nameMost+1)] // too long all the same
	id := t.ids[kind][string(name)]
	if id == 0 {
		if s := sh.shared.metrics.define(sh.space, int(kind), name, sh.vm.o.Tags); s != nil {
			id = t.add(s)
		}
	}
	if id == 0 {
		sh.space.refuse(sh, refusedMetric)
		if id = t.spare[kind]; id == 0 {
			id = t.add(&series{kind: int(kind)})
		}
	}
	return sh.put32(a[3], id)
}

// recordMetric is proxy_record_metric (id, value): it sets a gauge, but adds to a counter, as Envoy does.
func recordMetric(sh *shard, a []uint64) status {
	s := sh.table.get(a[0])
	if s == nil {
		return statusNotFound
	}
	switch {
	case s.family == nil:
	case s.kind == metricGauge:
		s.value.Store(a[1])
	case s.kind == metricHistogram:
		s.observe(a[1])
	case int64(a[1]) > 0: // no counter goes back
		s.value.Add(a[1])
	}
	return statusOK
}

// incrementMetric is proxy_increment_metric (id, delta).
func incrementMetric(sh *shard, a []uint64) status {
	s := sh.table.get(a[0])
	if s == nil {
		return statusNotFound
	}
	if s.kind == metricHistogram || s.kind == metricCounter && int64(a[1]) <= 0 {
		return statusBadArgument
	}
	if s.family != nil {
		s.value.Add(a[1])
	}
	return statusOK
}

// getMetric is proxy_get_metric (id, value*). A histogram has none: Envoy answers BadArgument then, which the Rust SDK panics on.
func getMetric(sh *shard, a []uint64) status {
	s := sh.table.get(a[0])
	if s == nil || s.kind == metricHistogram {
		return statusNotFound
	}
	return sh.put64(a[1], s.value.Load())
}
