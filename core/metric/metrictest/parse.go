// Package metrictest reads Prometheus text as strictly as a scraper may, for tests.
package metrictest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Page is a text that was read: the value of every sample by its name and labels as written, and the type of every
// family.
type Page struct {
	Samples map[string]float64
	Types   map[string]string
}

// Parse reads text format 0.0.4 and refuses all that a scraper may refuse and more: every line ends, every family has
// HELP before TYPE before its samples and stands in one piece, no sample appears twice, names and escapes are valid,
// counters are not negative, and the buckets of a histogram rise to a +Inf that is its count. partial names families
// (the Go runtime's) whose histograms may lack _sum and _count.
func Parse(text []byte, partial ...string) (*Page, error) {
	p := &parser{page: &Page{Samples: map[string]float64{}, Types: map[string]string{}}, hists: map[string]*hist{}}
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("not UTF-8")
	}
	s := string(text)
	if s != "" && !strings.HasSuffix(s, "\n") {
		return nil, fmt.Errorf("last line does not end")
	}
	for i, l := range strings.Split(strings.TrimSuffix(s, "\n"), "\n") {
		if s == "" {
			break
		}
		if err := p.line(l); err != nil {
			return nil, fmt.Errorf("line %d %q: %w", i+1, l, err)
		}
	}
	for key, h := range p.hists {
		if !h.inf {
			return nil, fmt.Errorf("histogram %s has no +Inf", key)
		}
		if (!h.sum || !h.counted) && !contains(partial, h.family) {
			return nil, fmt.Errorf("histogram %s lacks _sum or _count", key)
		}
		if h.counted && h.count != h.last {
			return nil, fmt.Errorf("histogram %s: count %v, +Inf %v", key, h.count, h.last)
		}
	}
	return p.page, nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

type parser struct {
	page   *Page
	helped string // family whose HELP was read last
	family string // family whose TYPE was read last
	hists  map[string]*hist
}

type hist struct {
	family            string
	le, last, count   float64
	inf, sum, counted bool
	any               bool
}

func (p *parser) line(l string) error {
	if rest, ok := strings.CutPrefix(l, "# HELP "); ok {
		name, help, _ := strings.Cut(rest, " ")
		if _, dup := p.page.Types[name]; dup || p.helped == name {
			return fmt.Errorf("family in two pieces")
		}
		for i := 0; i < len(help); i++ {
			if help[i] == '\\' {
				if i++; i == len(help) || help[i] != '\\' && help[i] != 'n' {
					return fmt.Errorf("bad escape in help")
				}
			}
		}
		p.helped = name
		return checkName(name, true)
	}
	if rest, ok := strings.CutPrefix(l, "# TYPE "); ok {
		name, kind, _ := strings.Cut(rest, " ")
		if name != p.helped {
			return fmt.Errorf("TYPE without HELP")
		}
		switch kind {
		case "counter", "gauge", "histogram", "summary", "untyped":
		default:
			return fmt.Errorf("unknown type")
		}
		p.page.Types[name], p.family = kind, name
		return nil
	}
	if l == "" || l[0] == '#' {
		return fmt.Errorf("neither metadata nor sample")
	}
	return p.sample(l)
}

func (p *parser) sample(l string) error {
	i := strings.IndexAny(l, "{ ")
	if i < 0 {
		return fmt.Errorf("no value")
	}
	name, rest := l[:i], l[i:]
	if err := checkName(name, true); err != nil {
		return err
	}
	var labels []string
	if rest[0] == '{' {
		var err error
		if labels, rest, err = parseLabels(rest[1:]); err != nil {
			return err
		}
	}
	text, ok := strings.CutPrefix(rest, " ")
	if !ok {
		return fmt.Errorf("no space before the value")
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return err
	}
	key := strings.TrimSuffix(l, rest)
	if _, dup := p.page.Samples[key]; dup {
		return fmt.Errorf("sample twice")
	}
	p.page.Samples[key] = v
	return p.belongs(name, labels, v)
}

// belongs checks that a sample is one of the family whose TYPE stands above it.
func (p *parser) belongs(name string, labels []string, v float64) error {
	suffix, ok := strings.CutPrefix(name, p.family)
	if !ok || p.family == "" {
		return fmt.Errorf("sample of another family than %q", p.family)
	}
	kind := p.page.Types[p.family]
	switch kind {
	case "counter":
		if v < 0 || math.IsNaN(v) {
			return fmt.Errorf("counter below zero")
		}
		fallthrough
	default:
		if suffix != "" {
			return fmt.Errorf("sample of another family than %q", p.family)
		}
		return nil
	case "summary":
		if suffix != "" && suffix != "_sum" && suffix != "_count" {
			return fmt.Errorf("not of a summary")
		}
		return nil
	case "histogram":
		return p.histogram(suffix, labels, v)
	}
}

func (p *parser) histogram(suffix string, labels []string, v float64) error {
	le := ""
	var others []string
	for _, l := range labels {
		if x, ok := strings.CutPrefix(l, "le="); ok {
			le = strings.Trim(x, `"`)
			continue
		}
		others = append(others, l)
	}
	key := p.family + "{" + strings.Join(others, ",") + "}"
	h := p.hists[key]
	if h == nil {
		h = &hist{family: p.family}
		p.hists[key] = h
	}
	switch suffix {
	case "_sum":
		h.sum = true
	case "_count":
		h.counted, h.count = true, v
	case "_bucket":
		bound, err := strconv.ParseFloat(le, 64)
		if err != nil {
			return fmt.Errorf("bad le: %w", err)
		}
		if h.any && (bound <= h.le || v < h.last) {
			return fmt.Errorf("buckets do not rise")
		}
		h.any, h.le, h.last, h.inf = true, bound, v, math.IsInf(bound, 1)
	default:
		return fmt.Errorf("not of a histogram")
	}
	return nil
}

// parseLabels reads up to the closing brace and gives name="value" pairs as written.
func parseLabels(s string) (labels []string, rest string, err error) {
	seen := map[string]bool{}
	for {
		s = strings.TrimLeft(s, " ")
		if strings.HasPrefix(s, "}") && len(labels) > 0 {
			return labels, s[1:], nil
		}
		name, after, ok := strings.Cut(s, `="`)
		if !ok {
			return nil, "", fmt.Errorf("bad labels")
		}
		if err := checkName(name, false); err != nil {
			return nil, "", err
		}
		if seen[name] {
			return nil, "", fmt.Errorf("label twice")
		}
		seen[name] = true
		i := 0
		for ; i < len(after) && after[i] != '"'; i++ {
			if after[i] == '\\' {
				if i++; i == len(after) || !strings.ContainsRune(`\"n`, rune(after[i])) {
					return nil, "", fmt.Errorf("bad escape")
				}
			}
		}
		if i == len(after) {
			return nil, "", fmt.Errorf("label value does not end")
		}
		labels = append(labels, name+`="`+after[:i+1])
		s = after[i+1:]
		if t, ok := strings.CutPrefix(s, ","); ok {
			s = t
		} else if !strings.HasPrefix(s, "}") {
			return nil, "", fmt.Errorf("bad labels")
		}
	}
}

func checkName(s string, colon bool) error {
	for i, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c == ':' && colon, '0' <= c && c <= '9' && i > 0:
		default:
			return fmt.Errorf("bad name %q", s)
		}
	}
	if s == "" {
		return fmt.Errorf("empty name")
	}
	return nil
}
