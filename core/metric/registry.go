package metric

import (
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// Registry renders families in the order they were made. All its methods, and those of what it gives, may be called
// from any goroutine.
type Registry struct {
	mu       sync.Mutex
	families []*family
}

// NewRegistry makes an empty registry.
func NewRegistry() *Registry { return &Registry{} }

// Counters makes a family of counters; name ends in _total. A name that is not valid or that the registry has already
// is a mistake of the programmer: it panics.
func (r *Registry) Counters(name, help string, labels ...string) Counters {
	return Counters{r.add(name, help, "counter", labels)}
}

// Histograms makes a family of histograms of durations, rendered in seconds; name ends in _seconds.
func (r *Registry) Histograms(name, help string, bounds []time.Duration, labels ...string) Histograms {
	return Histograms{r.add(name, help, "histogram", labels), newLayout(bounds)}
}

// Gauges makes a family of values that are asked for when they are rendered.
func (r *Registry) Gauges(name, help string, labels ...string) Callbacks {
	return Callbacks{r.add(name, help, "gauge", labels)}
}

// CounterCallbacks is Gauges for values that only grow.
func (r *Registry) CounterCallbacks(name, help string, labels ...string) Callbacks {
	return Callbacks{r.add(name, help, "counter", labels)}
}

func (r *Registry) add(name, help, kind string, labels []string) *family {
	if !validName(name, true) {
		panic("metric: bad name " + name)
	}
	for _, l := range labels {
		if !validName(l, false) || l == "le" {
			panic("metric: bad label " + l + " of " + name)
		}
	}
	f := &family{name: name, head: head(name, help, kind), labels: labels, series: map[string]*series{}}
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.ContainsFunc(r.families, func(g *family) bool { return g.name == name }) {
		panic("metric: name used twice: " + name)
	}
	r.families = append(r.families, f)
	return f
}

// AppendText appends every series in Prometheus text format 0.0.4. Callbacks are called without a lock held.
func (r *Registry) AppendText(dst []byte) []byte {
	r.mu.Lock()
	families := slices.Clone(r.families)
	r.mu.Unlock()
	for _, f := range families {
		dst = f.appendText(dst)
	}
	return dst
}

// WriteTo writes what AppendText appends.
func (r *Registry) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(r.AppendText(nil))
	return int64(n), err
}

// Counters is a family of counters.
type Counters struct{ f *family }

// Acquire gives the counter with these label values, one for each label in order: the one that is there already, if
// somebody holds it. Every Acquire is given back by a Release.
func (c Counters) Acquire(values ...string) *Counter {
	s := c.f.acquire(values, func(s *series) value {
		n := NewCounter()
		n.own = s
		return n
	})
	return s.value.(*Counter)
}

// Histograms is a family of histograms.
type Histograms struct {
	f      *family
	layout *layout
}

// Acquire is Counters.Acquire for histograms.
func (h Histograms) Acquire(values ...string) *Histogram {
	s := h.f.acquire(values, func(s *series) value {
		n := newHistogram(h.layout)
		n.own = s
		return n
	})
	return s.value.(*Histogram)
}

// Callbacks is a family of values by callback.
type Callbacks struct{ f *family }

// Acquire makes ask the answer for these label values until Release. ask may be called by several goroutines at once
// and must not block.
func (c Callbacks) Acquire(ask func() float64, values ...string) *Callback {
	cb := &Callback{ask: ask}
	s := c.f.acquire(values, func(*series) value { return callbacks(nil) })
	cb.own = s
	c.f.mu.Lock()
	// A copy, not an append in place: a rendering may hold the list.
	s.value = append(slices.Clone(s.value.(callbacks)), cb)
	c.f.mu.Unlock()
	return cb
}

// Spreads makes a family of histograms that are asked for when they are rendered; name ends in _seconds.
func (r *Registry) Spreads(name, help string, labels ...string) Spreads {
	return Spreads{r.add(name, help, "histogram", labels)}
}

// Spreads is a family of spreads by callback.
type Spreads struct{ f *family }

// Acquire shows what ask gives under these label values until Release; nil is nothing to show as yet. What several show
// under the same ones is added up. ask may be called by several goroutines at once; it must neither block nor use the
// registry.
func (c Spreads) Acquire(ask func() *Spread, values ...string) *SpreadCallback {
	cb := &SpreadCallback{ask: ask}
	s := c.f.acquire(values, func(*series) value { return &spreads{} })
	cb.own = s
	c.f.mu.Lock()
	old := s.value.(*spreads)
	s.value = &spreads{live: append(slices.Clone(old.live), cb), gone: old.gone}
	c.f.mu.Unlock()
	return cb
}

type family struct {
	name, head string
	labels     []string

	mu     sync.Mutex
	series map[string]*series // by rendered labels
}

// value is a Counter, a Histogram, callbacks or spreads.
type value interface {
	appendTo(dst []byte, name, labels string) []byte
}

type series struct {
	f      *family
	labels string
	refs   int // under f.mu
	value  value
}

func (f *family) acquire(values []string, build func(*series) value) *series {
	labels := renderLabels(f.name, f.labels, values)
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.series[labels]
	if s == nil {
		s = &series{f: f, labels: labels}
		s.value = build(s)
		f.series[labels] = s
	}
	s.refs++
	return s
}

func (s *series) release() {
	if s == nil {
		return
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.drop()
}

func (s *series) withdraw(c *Callback) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	cs := s.value.(callbacks)
	if i := slices.Index(cs, c); i >= 0 {
		s.value = slices.Delete(slices.Clone(cs), i, i+1)
		s.drop()
	}
}

// drop gives back one reference; s.f.mu is held.
func (s *series) drop() {
	if s.refs--; s.refs == 0 {
		delete(s.f.series, s.labels)
	}
}

func (f *family) appendText(dst []byte) []byte {
	type row struct {
		labels string
		value  value
	}
	f.mu.Lock()
	rows := make([]row, 0, len(f.series))
	for _, labels := range slices.Sorted(maps.Keys(f.series)) {
		v := f.series[labels].value
		if e, ok := v.(interface{ empty() bool }); ok && e.empty() {
			continue // acquired this instant, or there is nothing to show as yet
		}
		rows = append(rows, row{labels, v})
	}
	f.mu.Unlock()
	if len(rows) == 0 {
		return dst
	}
	dst = append(dst, f.head...)
	for _, r := range rows {
		dst = r.value.appendTo(dst, f.name, r.labels)
	}
	return dst
}
