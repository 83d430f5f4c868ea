package config

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirproxy/weir/core/unit"
)

// decoder reads the nodes of one file into a Spec. Its methods return the zero value for what they refuse, after
// they have noted the problem, so that one run finds all of them.
type decoder struct {
	file     string
	dir      string
	env      func(string) (string, bool)
	problems Problems
	warnings Problems
	foreign  bool            // the file is in a format of others: ${…} is nothing special
	broken   map[string]bool // paths of values that were refused: what is said about them later is noise

	declared [len(spaceNames)]map[string]bool
	mentions []mention
}

// value is a node and the place it was reached by: a node behind an alias has several.
type value struct {
	*node
	pos Pos
}

func (d *decoder) fail(pos Pos, format string, args ...any) {
	if !d.broken[pos.Path] {
		d.problems.Add(pos.Errorf(format, args...))
	}
}

func (d *decoder) warn(pos Pos, format string, args ...any) {
	d.warnings.Add(pos.Errorf(format, args...))
}

func (d *decoder) later(pos Pos, name string) {
	d.fail(pos, "%q is not supported yet", name)
}

// at returns where the value under a key of v stands.
func (d *decoder) at(v value, name string) Pos {
	return d.position(v.node.get(name), v.pos.key(name))
}

// wants notes that v has the wrong type.
func (d *decoder) wants(v value, what string) {
	hint := ""
	if v.kind == nothing {
		hint = "; give a value or leave the key out"
	}
	d.fail(v.pos, "wants %s, not %s%s", what, v.describe(), hint)
}

// expand returns the text of v with its variables expanded; v is of kind text.
func (d *decoder) expand(v value) (expansion, bool) {
	if v.final {
		return expansion{Template: Template{literal(v.text)}, env: true}, true
	}
	x, err := expand(v.text, d.env)
	if err != nil {
		d.fail(v.pos, "%s", err)
		return expansion{}, false
	}
	return x, true
}

func literal(s string) []Part {
	if s == "" {
		return nil
	}
	return []Part{{Text: s}}
}

// plain returns the text of v, in which no reference to the request may be.
func (d *decoder) plain(v value) (s string, env, ok bool) {
	x, ok := d.expand(v)
	if !ok {
		return "", false, false
	}
	s, ok = x.Text()
	if !ok {
		d.fail(v.pos, "%s is not possible here; write $$ for a dollar", x.Refs()[0])
	}
	return s, x.env, ok
}

// scalar is plain for values that may also be written without quotes as something else than a text.
func (d *decoder) scalar(v value, what string) (string, bool) {
	switch v.kind {
	case text:
		s, _, ok := d.plain(v)
		return s, ok
	case integer, float:
		return v.text, true
	}
	d.wants(v, what)
	return "", false
}

// text returns a text that is not empty.
func (d *decoder) text(v value) string {
	if v.kind == text {
		s, env, ok := d.plain(v)
		if ok && s == "" {
			if env {
				d.fail(v.pos, "%q expands to nothing", v.node.text)
				return ""
			}
			d.fail(v.pos, "wants a text that is not empty")
		}
		return s
	}
	if v.kind == integer || v.kind == float || v.kind == boolean {
		d.fail(v.pos, "wants a text, not %s; write it in quotes: %q", v.describe(), v.node.text)
		return ""
	}
	d.wants(v, "a text")
	return ""
}

// optionalText is text that may be empty.
func (d *decoder) optionalText(v value) string {
	if v.kind != text {
		return d.text(v)
	}
	s, _, _ := d.plain(v)
	return s
}

func (d *decoder) template(v value) Template {
	if v.kind != text {
		d.text(v)
		return Template{}
	}
	x, _ := d.expand(v)
	return x.Template
}

func (d *decoder) boolean(v value) bool {
	if v.kind == boolean {
		return v.node.text == "true"
	}
	if v.kind == text {
		s, env, ok := d.plain(v)
		if !ok {
			return false
		}
		if env && (s == "true" || s == "false") {
			return s == "true"
		}
	}
	d.wants(v, "true or false")
	return false
}

// integer returns a whole number from low to high.
func (d *decoder) integer(v value, low, high int64) int64 {
	s := v.node.text
	switch v.kind {
	case integer:
	case text:
		plain, env, ok := d.plain(v)
		if !ok {
			return 0
		}
		if !env {
			d.wants(v, "a whole number")
			return 0
		}
		s = plain
	default:
		d.wants(v, "a whole number")
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != s {
		d.fail(v.pos, "wants a whole number in plain decimal digits, not %q", s)
		return 0
	}
	if n < low || n > high {
		d.fail(v.pos, "wants a number from %d to %d, not %d", low, high, n)
		return 0
	}
	return n
}

// count is integer for what is counted: 0 has a meaning of its own, such as no limit.
func (d *decoder) count(v value) int {
	return int(d.integer(v, 0, 1<<31-1))
}

func (d *decoder) positive(v value) int {
	return int(d.integer(v, 1, 1<<31-1))
}

func (d *decoder) duration(v value) time.Duration {
	return quantity(d, v, "a duration such as 500ms or 5s", unit.ParseDuration)
}

// positiveDuration is duration for what has no meaning when it is 0.
func (d *decoder) positiveDuration(v value) time.Duration {
	before := len(d.problems.List)
	t := d.duration(v)
	if t == 0 && len(d.problems.List) == before {
		d.fail(v.pos, "wants a duration above 0")
	}
	return t
}

func (d *decoder) size(v value) int64 {
	return quantity(d, v, "a size such as 64KiB or 10MiB", unit.ParseSize)
}

func (d *decoder) positiveSize(v value) int64 {
	before := len(d.problems.List)
	n := d.size(v)
	if n == 0 && len(d.problems.List) == before {
		d.fail(v.pos, "wants a size above 0")
	}
	return n
}

func (d *decoder) rate(v value) unit.Rate {
	before := len(d.problems.List)
	r := quantity(d, v, "a rate such as 100/s", unit.ParseRate)
	if r.N == 0 && len(d.problems.List) == before {
		d.fail(v.pos, "wants a rate above 0")
	}
	return r
}

// fraction returns a share from 0 to 1.
func (d *decoder) fraction(v value) float64 {
	return quantity(d, v, "a fraction such as 20%", unit.ParseFraction).Float()
}

// positiveFraction is fraction for what has no meaning when it is 0.
func (d *decoder) positiveFraction(v value) float64 {
	before := len(d.problems.List)
	f := d.fraction(v)
	if f == 0 && len(d.problems.List) == before {
		d.fail(v.pos, "wants a fraction above 0")
	}
	return f
}

func quantity[T any](d *decoder, v value, what string, parse func(string) (T, error)) T {
	var none T
	s, ok := d.scalar(v, what)
	if !ok {
		return none
	}
	out, err := parse(s)
	if err != nil {
		d.fail(v.pos, "%s", err)
		return none
	}
	return out
}

// path returns the path of a file, relative ones resolved against the directory of the configuration.
func (d *decoder) path(v value) string {
	return d.resolve(d.text(v))
}

func (d *decoder) resolve(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(d.dir, path)
}

// choice returns one of words.
func (d *decoder) choice(v value, words []word) string {
	if v.kind == boolean || v.kind == integer || v.kind == float {
		d.fail(v.pos, "wants %s, not %s", wordList(words), v.describe())
		return ""
	}
	before := len(d.problems.List)
	s := d.text(v)
	if len(d.problems.List) > before {
		return ""
	}
	names := make([]string, len(words))
	for i, w := range words {
		if w.name == s {
			if w.state == later {
				d.later(v.pos, s)
				return ""
			}
			return s
		}
		names[i] = w.name
	}
	d.fail(v.pos, "wants %s, not %q%s", wordList(words), s, suggest(s, names))
	return ""
}

// numberChoice is choice for words that are numbers of a kind: without quotes they cannot be meant otherwise.
func (d *decoder) numberChoice(v value, number kind, words []word) string {
	if v.kind == number {
		quoted := *v.node
		quoted.kind = text
		v.node = &quoted
	}
	return d.choice(v, words)
}

// wordList names the words of this version in an error.
func wordList(words []word) string {
	words = slices.DeleteFunc(slices.Clone(words), func(w word) bool { return w.state == later })
	var b strings.Builder
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(w.name)
	}
	return b.String()
}

// items returns the items of a list; one that is a single ${NAME} is split at commas.
func (d *decoder) items(v value) []value {
	if v.kind != list {
		d.wants(v, "a list")
		return nil
	}
	out := make([]value, 0, len(v.node.items))
	for _, n := range v.node.items {
		item := value{n, d.position(n, v.pos.index(len(out)))}
		if n.kind != text || n.final {
			out = append(out, item)
			continue
		}
		x, err := expand(n.text, d.env)
		if err != nil || !x.sole {
			out = append(out, item)
			continue
		}
		s, _ := x.Text()
		for part := range strings.SplitSeq(s, ",") {
			part = strings.TrimSpace(part)
			if part == "" {
				continue
			}
			split := &node{kind: text, line: n.line, column: n.column, text: part, final: true, size: 1}
			out = append(out, value{split, d.position(split, v.pos.index(len(out)))})
		}
	}
	return out
}

// oneOrMore is items for what may also be one value without a list around it.
func (d *decoder) oneOrMore(v value) []value {
	if v.kind == list {
		return d.items(v)
	}
	return []value{v}
}

// texts reads a list of texts, each of which may stand in it once.
func (d *decoder) texts(v value) []string {
	return d.textsOf(d.items(v))
}

func (d *decoder) textsOf(items []value) []string {
	out := make([]string, 0, len(items))
	for _, item := range items {
		s := d.text(item)
		if s == "" {
			continue
		}
		if slices.Contains(out, s) {
			d.fail(item.pos, "%q stands in the list twice", s)
			continue
		}
		out = append(out, s)
	}
	return out
}

// someTexts is texts for a list that has no meaning when it is empty.
func (d *decoder) someTexts(v value) []string {
	items := d.items(v)
	if v.kind == list && len(items) == 0 {
		d.fail(v.pos, "the list is empty")
	}
	return d.textsOf(items)
}
