package metric

import (
	"fmt"
	"strconv"
	"strings"
)

// escapes are those of the text format, version 0.0.4: three in a label value, two in a help text.
var (
	valueEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	helpEscapes  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)

func head(name, help, kind string) string {
	return "# HELP " + name + " " + helpEscapes.Replace(help) + "\n# TYPE " + name + " " + kind + "\n"
}

// renderLabels gives `{a="x",b="y"}`, or "" without labels. A value is any text; what is not UTF-8 in it is replaced,
// because a scraper refuses the whole page for it.
func renderLabels(name string, labels, values []string) string {
	if len(labels) != len(values) {
		panic(fmt.Sprintf("metric: %s has labels %v and was given values %q", name, labels, values))
	}
	if len(labels) == 0 {
		return ""
	}
	var b strings.Builder
	for i, l := range labels {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(l)
		b.WriteString(`="`)
		b.WriteString(valueEscapes.Replace(strings.ToValidUTF8(values[i], "\uFFFD")))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

// histogramText renders one histogram.
type histogramText struct {
	dst          []byte
	name, labels string
}

// bucket appends how many were up to le.
func (t *histogramText) bucket(le string, n uint64) {
	open := "{"
	if t.labels != "" {
		open = t.labels[:len(t.labels)-1] + ","
	}
	t.dst = append(append(t.dst, t.name...), "_bucket"...)
	t.dst = append(append(t.dst, open...), `le="`...)
	t.dst = append(append(t.dst, le...), `"} `...)
	t.dst = append(strconv.AppendUint(t.dst, n, 10), '\n')
}

// end appends the rest. The count is the sum of the buckets just read, not another look at them: +Inf and _count must agree
// in one text.
func (t *histogramText) end(sum float64, n uint64) []byte {
	t.bucket("+Inf", n)
	dst := append(append(append(t.dst, t.name...), "_sum"...), t.labels...)
	dst = append(strconv.AppendFloat(append(dst, ' '), sum, 'g', -1, 64), '\n')
	dst = append(append(append(dst, t.name...), "_count"...), t.labels...)
	return append(strconv.AppendUint(append(dst, ' '), n, 10), '\n')
}

// validName follows the classic data model: [a-zA-Z_:][a-zA-Z0-9_:]*, without colons in a label's name.
func validName(s string, colon bool) bool {
	for i, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c == ':' && colon, '0' <= c && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}
