package proxyabi

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/metric/metrictest"
)

func (h *handle) define(kind int, name string) int {
	h.t.Helper()
	h.want(statusOK, "proxy_define_metric", kind, name, outA)
	return int(h.word(outA))
}

func (h *handle) value(id int, want uint64) {
	h.t.Helper()
	h.want(statusOK, "proxy_get_metric", id, outA)
	same(h.t, "value", h.long(outA), want)
}

// scrape reads the metrics as a scraper does, more strictly.
func scrape(t testing.TB, s *Shared) *metrictest.Page {
	t.Helper()
	text := s.AppendMetrics(nil)
	p, err := metrictest.Parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// samples expects exactly these.
func samples(t testing.TB, s *Shared, want map[string]float64) {
	t.Helper()
	p := scrape(t, s)
	for name, v := range want {
		if have, ok := p.Samples[name]; !ok || have != v {
			t.Errorf("%s: have %v %v, want %v", name, have, ok, v)
		}
	}
	if len(p.Samples) != len(want) {
		t.Errorf("%d samples, want %d\n%s", len(p.Samples), len(want), s.AppendMetrics(nil))
	}
}

func TestMetrics(t *testing.T) {
	s := NewShared()
	vm, _ := start(t, newBare().code(), with(s, "one"), shards(2))
	h := of(t, vm.shard(0))
	c, g, o := h.define(metricCounter, "requests"), h.define(metricGauge, "level"), h.define(metricHistogram, "took")
	if c == g || g == o || c == o || c*g*o == 0 {
		t.Errorf("ids %d, %d, %d", c, g, o)
	}
	same(t, "id", h.define(metricCounter, "requests"), c)
	h.want(statusBadArgument, "proxy_define_metric", metricKinds, "requests", outA)
	h.want(statusInvalidMemory, "proxy_define_metric", 0, 1<<31, 1, outA)
	h.want(statusInvalidMemory, "proxy_define_metric", 0, "requests", 1<<31)

	h.want(statusOK, "proxy_increment_metric", c, 3)
	h.want(statusOK, "proxy_record_metric", c, 4) // adds, as Envoy does
	h.value(c, 7)
	h.want(statusBadArgument, "proxy_increment_metric", c, 0)
	h.want(statusBadArgument, "proxy_increment_metric", c, -1)
	h.want(statusOK, "proxy_record_metric", c, -1)
	h.value(c, 7)
	h.want(statusOK, "proxy_record_metric", g, 10)
	h.want(statusOK, "proxy_increment_metric", g, -12)
	h.value(g, math.MaxUint64-1)
	h.want(statusOK, "proxy_increment_metric", g, 3)
	h.value(g, 1)
	h.want(statusOK, "proxy_record_metric", g, -5)
	for _, v := range []int{0, 1, 2, 5, 3_600_000, 3_600_001} {
		h.want(statusOK, "proxy_record_metric", o, v)
	}
	h.want(statusBadArgument, "proxy_increment_metric", o, 1)
	h.want(statusNotFound, "proxy_get_metric", o, outA)
	for _, id := range []int{0, 4, 4711, math.MaxUint32} {
		h.want(statusNotFound, "proxy_record_metric", id, 1)
		h.want(statusNotFound, "proxy_increment_metric", id, 1)
		h.want(statusNotFound, "proxy_get_metric", id, outA)
	}
	h.want(statusInvalidMemory, "proxy_get_metric", c, 1<<31)

	// Another shard, and another scope: the same series, though the ids may differ.
	other := of(t, vm.shard(1))
	other.define(metricGauge, "own")
	other.want(statusOK, "proxy_increment_metric", other.define(metricCounter, "requests"), 1)
	apart, _ := start(t, newBare().code(), with(s, "two"))
	third := of(t, apart.shard(0))
	third.want(statusOK, "proxy_increment_metric", third.define(metricCounter, "requests"), 1)
	h.value(c, 9)

	p := scrape(t, s)
	for name, want := range map[string]float64{
		"wasmcustom_requests": 9, "wasmcustom_level": -5, "wasmcustom_own": 0,
		`wasmcustom_took_bucket{le="0.5"}`: 1, `wasmcustom_took_bucket{le="1"}`: 2, `wasmcustom_took_bucket{le="5"}`: 4,
		`wasmcustom_took_bucket{le="3600000"}`: 5, `wasmcustom_took_bucket{le="+Inf"}`: 6,
		"wasmcustom_took_sum": 7_200_009, "wasmcustom_took_count": 6,
	} {
		same(t, name, p.Samples[name], want)
	}
	same(t, "types", fmt.Sprint(p.Types), "map[wasmcustom_level:gauge wasmcustom_own:gauge wasmcustom_requests:counter wasmcustom_took:histogram]")
}

func tags(list ...string) func(*Options) {
	return func(o *Options) {
		for i := 0; i < len(list); i += 2 {
			o.Tags = append(o.Tags, Tag{list[i], regexp.MustCompile(list[i+1])})
		}
	}
}

func TestMetricTags(t *testing.T) {
	f := func(name, want string, list ...string) {
		t.Helper()
		s := NewShared()
		vm, _ := start(t, newBare().code(), with(s, "one"), tags(list...))
		h := of(t, vm.shard(0))
		h.want(statusOK, "proxy_increment_metric", h.define(metricCounter, name), 3)
		samples(t, s, map[string]float64{want: 3})
	}
	// As the Go SDK's example has it with Envoy.
	f("custom_header_value_counts_value=foo_reporter=wasmgosdk",
		`wasmcustom_custom_header_value_counts{value="foo",reporter="wasmgosdk"}`,
		"value", "(_value=([a-zA-Z]+))", "reporter", "(_reporter=([a-zA-Z]+))")
	// The order is the tags'.
	f("x_a=1_b=2", `wasmcustom_x{b="2",a="1"}`, "b", "(_b=([0-9]))", "a", "(_a=([0-9]))")
	// One that does not match is left out; two of one name are the first that matches.
	f("x_a=1", `wasmcustom_x{a="1"}`, "b", "(_b=([0-9]))", "a", "(_a=([0-9]))", "a", "(x)")
	// One group is both.
	f("x.1", `wasmcustom_x_{a="1"}`, "a", `([0-9])$`)
	// Without a group nothing can be cut, nor where the first has no part in the match.
	f("x.1", `wasmcustom_x_1`, "a", `[0-9]`)
	f("x.1", `wasmcustom_x_1{a="",b="1"}`, "a", `x(y)?`, "a", `()(y)?`, "b", `()([0-9])$`)
	// Patterns may name Envoy's prefix, and even cut it.
	f("x.1", `wasmcustom_x{a="1"}`, "a", `^wasmcustom\.x(\.(.*))$`)
	f("x.1", `wasmcustom_1{a="x"}`, "a", `^(wasmcustom\.(x)\.)`)
	// All is made fit: names, labels, values.
	f("1 ü.a:b", `wasmcustom_1___a_b`)
	f("x_a=\"\\\n\xff", `wasmcustom_x{_a_b="\"\\\n`+"\uFFFD\"}", "9a-b", `(?s)(_a=(.+))`)
	f("", "wasmcustom_")
}

func TestMetricsThatFallTogether(t *testing.T) {
	s := NewShared()
	vm, _ := start(t, newBare().code(), with(s, "one"), tags("le", `(_le=([0-9]+))`))
	h := of(t, vm.shard(0))
	add := func(kind int, name string, n int) {
		t.Helper()
		h.want(statusOK, "proxy_record_metric", h.define(kind, name), n)
	}
	// The same in the text: added up, though guests see two.
	add(metricCounter, "a.b", 1)
	add(metricCounter, "a_b", 2)
	h.value(h.define(metricCounter, "a.b"), 1)
	add(metricGauge, "g.b", 1)
	add(metricGauge, "g_b", -2)
	add(metricHistogram, "h.b", 1)
	add(metricHistogram, "h_b", 7)
	add(metricHistogram, "h_b_le=4", 7) // a histogram's own label
	// A name of several kinds has one of them; others say theirs.
	add(metricGauge, "a_b", 5)
	add(metricHistogram, "a.b", 5)
	add(metricCounter, "h_b_count", 3)
	add(metricGauge, "z_sum", 3)
	add(metricHistogram, "z", 4)
	p := scrape(t, s)
	for name, want := range map[string]float64{
		"wasmcustom_a_b": 3, "wasmcustom_g_b": -1, "wasmcustom_h_b_count": 2, "wasmcustom_h_b_sum": 8, "wasmcustom_h_b_le_4_sum": 7,
		"wasmcustom_a_b_gauge": 5, "wasmcustom_a_b_histogram_sum": 5, "wasmcustom_h_b_count_counter": 3, "wasmcustom_z_sum": 3,
		"wasmcustom_z_histogram_sum": 4,
	} {
		same(t, name, p.Samples[name], want)
	}
}

// A series lives as long as a VM of a scope that has defined it.
func TestMetricsEnd(t *testing.T) {
	s := NewShared()
	one, op := start(t, newBare().code(), with(s, "one"))
	two, tp := start(t, newBare().code(), with(s, "two"))
	h, other := of(t, one.shard(0)), of(t, two.shard(0))
	h.want(statusOK, "proxy_increment_metric", h.define(metricCounter, "both"), 1)
	other.want(statusOK, "proxy_increment_metric", other.define(metricCounter, "both"), 1)
	h.want(statusOK, "proxy_record_metric", h.define(metricHistogram, "own"), 1)
	stop(t, one, op)
	samples(t, s, map[string]float64{"wasmcustom_both": 2})
	stop(t, two, tp)
	samples(t, s, map[string]float64{})
	if n := len(s.metrics.families); n != 0 {
		t.Errorf("%d families are left", n)
	}
	three, _ := start(t, newBare().code(), with(s, "three"))
	h = of(t, three.shard(0))
	h.value(h.define(metricCounter, "both"), 0)
}

func TestMetricBounds(t *testing.T) {
	var b bytes.Buffer
	s := NewShared()
	vm, _ := start(t, newBare().code(), with(s, "one"), shards(2), logged(&b, zerolog.InfoLevel))
	h := of(t, vm.shard(0))
	for i := range seriesMost {
		h.define(metricCounter, fmt.Sprint("counter ", i))
	}
	for range 2 {
		for kind := range metricKinds {
			id := h.define(kind, "one too many")
			h.want(statusOK, "proxy_record_metric", id, 1)
			if kind != metricHistogram {
				h.want(statusOK, "proxy_increment_metric", id, 1)
				h.value(id, 0)
			}
		}
	}
	same(t, "ids", len(h.sh.table.all), seriesMost+metricKinds)
	// What is there already is there for all shards, and room for another scope.
	other := of(t, vm.shard(1))
	other.want(statusOK, "proxy_increment_metric", other.define(metricCounter, "counter 7"), 1)
	h.value(h.define(metricCounter, "counter 7"), 1)
	apart, _ := start(t, newBare().code(), with(s, "two"))
	third := of(t, apart.shard(0))
	third.want(statusOK, "proxy_increment_metric", third.define(metricCounter, "one too many"), 1)
	long := third.define(metricCounter, strings.Repeat("n", nameMost+1))
	third.want(statusOK, "proxy_increment_metric", long, 1)
	p := scrape(t, s)
	for name, want := range map[string]float64{
		"wasmcustom_one_too_many": 1, "wasmcustom_counter_7": 1,
		`weir_filter_shared_refused_total{scope="one",kind="metric"}`: 6, `weir_filter_shared_refused_total{scope="two",kind="metric"}`: 1,
	} {
		same(t, name, p.Samples[name], want)
	}
	same(t, "samples", len(p.Samples), seriesMost+3)
	same(t, "lines", strings.Count(b.String(), `"kind":"metric"`), 1)
}

// Shards count and define at once while VMs come and go and the text is rendered: what outlives them is exact.
func TestMetricHammer(t *testing.T) {
	const each = 2000
	s := NewShared()
	code := newBare().code()
	vm, _ := start(t, code, with(s, "one"), shards(4))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			h := of(t, vm.shard(i))
			for n := range each {
				h.want(statusOK, "proxy_increment_metric", h.define(metricCounter, "all"), 1)
				h.want(statusOK, "proxy_record_metric", h.define(metricHistogram, "all"), n)
			}
		})
	}
	for i := range 2 {
		wg.Go(func() {
			for n := range 20 {
				other, p, err := tryStart(code, with(s, fmt.Sprint("other ", i)))
				if err != nil {
					t.Error(err)
					return
				}
				h := of(t, other.shard(0))
				h.want(statusOK, "proxy_increment_metric", h.define(metricCounter, fmt.Sprint("own ", n)), 1)
				h.set(statusOK, "key", "value", 0)
				h.want(statusOK, "proxy_enqueue_shared_queue", h.register("jobs"), "x")
				stop(t, other, p)
			}
		})
	}
	wg.Go(func() {
		for range 100 {
			if _, err := metrictest.Parse(s.AppendMetrics(nil)); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	p := scrape(t, s)
	same(t, "count", p.Samples["wasmcustom_all"], 4*each)
	same(t, "count", p.Samples["wasmcustom_all_histogram_count"]+p.Samples["wasmcustom_all_count"], 4*each)
	same(t, "scopes", len(s.spaces), 1)
}
