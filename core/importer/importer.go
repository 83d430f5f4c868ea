// Package importer turns what is written for other proxies into a configuration of weir: their WebAssembly filters, and the
// routes, upstreams and listeners around them as far as there is a like in weir.
//
// Nothing is dropped silently: a report says of each part what became of it, with its place in the source. What a reader of
// the source does not ask for counts as not translated. Every piece of the result is parsed as weir itself would before it is
// taken, so the result is a configuration that loads once its modules, certificates and names are there.
package importer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weirproxy/weir/core/config"
)

// Level says what became of a part of the source.
type Level uint8

const (
	Translated    Level = iota
	NotTranslated       // it has no like in weir, or none that the importer knows
	Look                // translated, and somebody who knows both sides should look at it
)

func (l Level) String() string { return [...]string{"translated", "not translated", "look"}[l] }

// Note is a line of the report.
type Note struct {
	Pos   config.Pos
	Level Level
	Text  string
}

// String is file:line:col: level: text.
func (n Note) String() string { return n.Pos.String() + ": " + n.Level.String() + ": " + n.Text }

// Result is a configuration and how it came about.
type Result struct {
	YAML   []byte
	Report []Note // by file, in the order of the sources, and place
}

// Lost says whether something was not translated.
func (r *Result) Lost() bool {
	return slices.ContainsFunc(r.Report, func(n Note) bool { return n.Level == NotTranslated })
}

// run is one import.
type run struct {
	notes    []Note
	problems config.Problems
	out      model
	names    map[string]bool // of filters
	files    map[string]int  // in the order of the sources
}

func newRun(docs []config.Foreign) *run {
	r := &run{names: map[string]bool{}, files: map[string]int{}}
	for _, d := range docs {
		if file := d.Pos().File; r.files[file] == 0 {
			r.files[file] = len(r.files) + 1
		}
	}
	return r
}

func (r *run) note(l Level, pos config.Pos, format string, args ...any) {
	r.notes = append(r.notes, Note{pos, l, oneLine(fmt.Sprintf(format, args...))})
}

func (r *run) did(pos config.Pos, format string, args ...any) {
	r.note(Translated, pos, format, args...)
}
func (r *run) lost(pos config.Pos, format string, args ...any) {
	r.note(NotTranslated, pos, format, args...)
}
func (r *run) look(pos config.Pos, format string, args ...any) { r.note(Look, pos, format, args...) }

// fail notes what cannot be: the import as a whole fails with all of them.
func (r *run) fail(pos config.Pos, format string, args ...any) {
	r.problems.Add(pos.Errorf("%s", oneLine(fmt.Sprintf(format, args...))))
}

// oneLine keeps what a source says from making lines of its own.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s)
}

// result checks the whole once more and sorts the report. The error is a *config.Problems.
func (r *run) result() (*Result, error) {
	if err := r.problems.Err(); err != nil {
		return nil, err
	}
	r.out.settle(r)
	text := r.out.yaml()
	if _, err := parse(text); err != nil {
		// Each piece was checked by itself: what is wrong with all of them together is a mistake of the importer's.
		return nil, fmt.Errorf("the result does not load; please report this with the source: %w", err)
	}
	slices.SortStableFunc(r.notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(r.files[a.Pos.File], r.files[b.Pos.File]), cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
	return &Result{text, slices.Compact(r.notes)}, nil
}

// parse reads a result as weir does, with every variable set.
func parse(text []byte) (*config.Spec, error) {
	return config.Parse("result.yaml", text, func(string) (string, bool) { return "x", true })
}

// unique makes a name one that no filter has as yet.
func (r *run) unique(name string) string {
	name = nameOf(name)
	for base, n := name, 2; r.names[name]; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	r.names[name] = true
	return name
}

// nameOf makes a name of what may be a title, a path or a URL.
func nameOf(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-', c == '.':
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	s = strings.Trim(b.String(), "-.")
	if s == "" {
		return "filter"
	}
	return s
}
