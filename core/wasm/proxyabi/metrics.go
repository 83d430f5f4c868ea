package proxyabi

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// metrics are the series of all scopes: what has the same kind and name is the same series, whoever defines it.
type metrics struct {
	mu       sync.Mutex
	all      [metricKinds]map[string]*series
	families map[string]*family // by every name that stands in the text; a histogram has four
}

// family is what one TYPE line stands for.
type family struct {
	name   string
	kind   int
	series int
}

var kindNames = [metricKinds]string{"counter", "gauge", "histogram"}

// prefix is Envoy's, which patterns of tags may name.
const prefix = "wasmcustom."

// define gives a scope a metric; nil: it has too many, or the name is too long. The tags of who is first hold.
func (m *metrics) define(sp *space, kind int, name []byte, tags []Tag) *series {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := sp.defined[kind][string(name)]; s != nil {
		return s
	}
	if sp.series >= seriesMost || len(name) > nameMost {
		return nil
	}
	s := m.all[kind][string(name)]
	if s == nil {
		s = m.make(kind, string(name), tags)
	}
	s.refs++
	sp.series++
	sp.defined[kind][s.name] = s
	return s
}

func (m *metrics) make(kind int, name string, tags []Tag) *series {
	rest, labels := extract(name, tags, kind == metricHistogram)
	s := &series{kind: kind, name: name, labels: labels, family: m.familyFor(rest, kind)}
	if kind == metricHistogram {
		s.buckets = make([]atomic.Uint64, len(bounds)+1)
	}
	s.family.series++
	if m.all[kind] == nil {
		m.all[kind] = map[string]*series{}
	}
	m.all[kind][name] = s
	return s
}

// familyFor finds or makes the family of a name. If the name is one of another kind, the own kind is put after it.
func (m *metrics) familyFor(name string, kind int) *family {
	for {
		if f := m.families[name]; f != nil && f.name == name && f.kind == kind {
			return f
		}
		f := &family{name: name, kind: kind}
		if !slices.ContainsFunc(f.names(), func(n string) bool { return m.families[n] != nil }) {
			if m.families == nil {
				m.families = map[string]*family{}
			}
			for _, n := range f.names() {
				m.families[n] = f
			}
			return f
		}
		name += "_" + kindNames[kind]
	}
}

// names are those that a family's samples have, and its own.
func (f *family) names() []string {
	if f.kind == metricHistogram {
		return []string{f.name, f.name + "_bucket", f.name + "_sum", f.name + "_count"}
	}
	return []string{f.name}
}

// release takes the metrics of a scope that is gone.
func (m *metrics) release(sp *space) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for kind := range sp.defined {
		for name, s := range sp.defined[kind] {
			if s.refs--; s.refs > 0 {
				continue
			}
			delete(m.all[kind], name)
			if s.family.series--; s.family.series == 0 {
				for _, n := range s.family.names() {
					delete(m.families, n)
				}
			}
		}
		clear(sp.defined[kind])
	}
	sp.series = 0
}

// extract makes of a metric's name what is exported: a family's name, and labels in the order of their tags.
func extract(name string, tags []Tag, histogram bool) (rest, labels string) {
	whole := prefix + name
	cut := make([]bool, len(whole))
	var b strings.Builder
	var seen []string
	for _, t := range tags {
		label := sanitise(t.Name, unfitLabel)
		at := t.Pattern.FindStringSubmatchIndex(whole)
		if len(at) < 4 || at[2] < 0 || slices.Contains(seen, label) || histogram && label == "le" || label == "" {
			continue
		}
		seen = append(seen, label)
		value := whole[at[2]:at[3]]
		if len(at) >= 6 {
			value = ""
			if at[4] >= 0 {
				value = whole[at[4]:at[5]]
			}
		}
		for i := at[2]; i < at[3]; i++ {
			cut[i] = true
		}
		if len(seen) > 1 {
			b.WriteByte(',')
		}
		appendLabel(&b, label, value)
	}
	kept := make([]byte, 0, len(whole))
	for i, c := range []byte(whole) {
		if !cut[i] {
			kept = append(kept, c)
		}
	}
	rest = string(kept)
	if !strings.HasPrefix(rest, prefix) {
		rest = prefix + rest
	}
	return sanitise(rest, unfitName), b.String()
}

var (
	unfitName    = regexp.MustCompile(`[^a-zA-Z0-9_]`)
	unfitLabel   = regexp.MustCompile(`^[0-9]|[^a-zA-Z0-9_]`)
	valueEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
)

func sanitise(s string, unfit *regexp.Regexp) string { return unfit.ReplaceAllString(s, "_") }

func appendLabel(b *strings.Builder, name, value string) {
	b.WriteString(name)
	b.WriteString(`="`)
	_, _ = valueEscapes.WriteString(b, strings.ToValidUTF8(value, "\uFFFD"))
	b.WriteByte('"')
}

// sample is a series as it is rendered: what falls together when names are cut and made fit is added up, or a scraper would
// find one series twice.
type sample struct {
	*family
	labels  string
	value   uint64
	buckets [len(bounds) + 1]uint64
}

// AppendMetrics appends the metrics that guests have defined, and what the bounds on shared things have refused, in Prometheus
// text format 0.0.4. Cold path: it allocates. Any goroutine may call.
func (s *Shared) AppendMetrics(dst []byte) []byte {
	dst = s.appendRefused(dst)
	var last *family
	for _, p := range s.metrics.samples() {
		if p.family != last {
			last = p.family
			dst = append(append(append(dst, "# HELP "...), p.name...), " Of a filter."...)
			dst = append(append(append(dst, "\n# TYPE "...), p.name...), ' ')
			dst = append(append(dst, kindNames[p.kind]...), '\n')
		}
		dst = p.appendTo(dst)
	}
	return dst
}

func (m *metrics) samples() []*sample {
	m.mu.Lock()
	var all []*series
	for _, byName := range m.all {
		for _, s := range byName {
			all = append(all, s)
		}
	}
	m.mu.Unlock()
	slices.SortFunc(all, func(a, b *series) int {
		if c := strings.Compare(a.family.name, b.family.name); c != 0 {
			return c
		}
		return strings.Compare(a.labels, b.labels)
	})
	var samples []*sample
	for _, s := range all {
		var p *sample
		if n := len(samples); n > 0 && samples[n-1].family == s.family && samples[n-1].labels == s.labels {
			p = samples[n-1]
		} else {
			p = &sample{family: s.family, labels: s.labels}
			samples = append(samples, p)
		}
		p.value += s.value.Load()
		for i := range s.buckets {
			p.buckets[i] += s.buckets[i].Load()
		}
	}
	return samples
}

func (p *sample) appendTo(dst []byte) []byte {
	if p.kind != metricHistogram {
		dst = appendName(dst, p.name, "", p.labels, "")
		if p.kind == metricGauge {
			return append(strconv.AppendInt(dst, int64(p.value), 10), '\n')
		}
		return append(strconv.AppendUint(dst, p.value, 10), '\n')
	}
	var n uint64
	for i, v := range p.buckets {
		n += v
		dst = appendName(dst, p.name, "_bucket", p.labels, le(i))
		dst = append(strconv.AppendUint(dst, n, 10), '\n')
	}
	dst = appendName(dst, p.name, "_sum", p.labels, "")
	dst = append(strconv.AppendUint(dst, p.value, 10), '\n')
	dst = appendName(dst, p.name, "_count", p.labels, "")
	return append(strconv.AppendUint(dst, n, 10), '\n')
}

func le(i int) string {
	switch i {
	case 0:
		return "0.5"
	case len(bounds):
		return "+Inf"
	}
	return strconv.FormatUint(bounds[i], 10)
}

// appendName appends a sample's name and labels, and the space after them.
func appendName(dst []byte, name, suffix, labels, le string) []byte {
	dst = append(append(dst, name...), suffix...)
	if labels != "" || le != "" {
		dst = append(append(dst, '{'), labels...)
		if le != "" {
			if labels != "" {
				dst = append(dst, ',')
			}
			dst = append(append(append(dst, `le="`...), le...), '"')
		}
		dst = append(dst, '}')
	}
	return append(dst, ' ')
}

func (s *Shared) appendRefused(dst []byte) []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	const name = "weir_filter_shared_refused_total"
	head := "# HELP " + name + " What filters of one scope wanted to share beyond its bounds.\n# TYPE " + name + " counter\n"
	names := make([]string, 0, len(s.spaces))
	for n := range s.spaces {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, scope := range names {
		for what := range refusedNames {
			n := s.spaces[scope].refused[what].Load()
			if n == 0 {
				continue
			}
			dst, head = append(dst, head...), ""
			var b strings.Builder
			appendLabel(&b, "scope", scopeName(scope))
			b.WriteByte(',')
			appendLabel(&b, "kind", refusedNames[what])
			dst = appendName(dst, name, "", b.String(), "")
			dst = append(strconv.AppendUint(dst, n, 10), '\n')
		}
	}
	return dst
}
