package metric

import (
	"fmt"
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
