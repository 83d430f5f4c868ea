package importer

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/weirproxy/weir/core/config"
)

// payload is what a filter is configured with: a text as it is, or keys and values that it gets as JSON. The zero value is none.
type payload struct {
	text string
	v    config.Foreign
	kind payloadKind
}

type payloadKind uint8

const (
	noPayload payloadKind = iota
	textPayload
	treePayload
)

// treeOf makes a payload of an object or a list: as keys and values where weir can say all of it like that, else as JSON.
func treeOf(v config.Foreign) payload {
	if plainKeys(v) && (v.Kind() == config.ForeignObject || v.Kind() == config.ForeignList) {
		return payload{v: v, kind: treePayload}
	}
	return payload{text: string(appendJSON(nil, v)), kind: textPayload}
}

// plainKeys says whether keys can stand in weir's YAML: none of them looks like a variable or a merge.
func plainKeys(v config.Foreign) bool {
	for _, f := range v.Fields() {
		if f.Name == "<<" || f.Name == "" || strings.Contains(f.Name, "${") || !plainKeys(f.Value) {
			return false
		}
	}
	for _, item := range v.Items() {
		if !plainKeys(item) {
			return false
		}
	}
	return true
}

// appendJSON writes v as JSON, keys in their order.
func appendJSON(dst []byte, v config.Foreign) []byte {
	switch v.Kind() {
	case config.ForeignObject:
		dst = append(dst, '{')
		for i, f := range v.Fields() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendJSONText(dst, f.Name), ':')
			dst = appendJSON(dst, f.Value)
		}
		return append(dst, '}')
	case config.ForeignList:
		dst = append(dst, '[')
		for i, item := range v.Items() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, item)
		}
		return append(dst, ']')
	case config.ForeignText:
		return appendJSONText(dst, v.Text())
	case config.ForeignNumber:
		return append(dst, number(v.Text())...)
	case config.ForeignBoolean:
		return append(dst, v.Text()...)
	}
	return append(dst, "null"...)
}

func appendJSONText(dst []byte, s string) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a text cannot fail
	return append(dst, strings.TrimSuffix(b.String(), "\n")...)
}

// number is one in a form that JSON has; what YAML alone calls a number is a text then.
func number(s string) string {
	if json.Valid([]byte(s)) {
		return s
	}
	if n, err := strconv.ParseInt(s, 0, 64); err == nil {
		return strconv.FormatInt(n, 10)
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		if b, err := json.Marshal(f); err == nil {
			return string(b)
		}
	}
	return string(appendJSONText(nil, s))
}

// plain is what no reader of YAML takes for anything but a text, anywhere.
var plain = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*$`)

var yamlWords = map[string]bool{"true": true, "false": true, "null": true, "yes": true, "no": true, "on": true, "off": true, "y": true, "n": true}

// quote writes a text as a scalar of YAML in which weir expands nothing.
func quote(s string) string { return scalar(strings.ReplaceAll(s, "$", "$$")) }

// scalar is quote for what may hold variables.
func scalar(s string) string {
	if plain.MatchString(s) && !yamlWords[strings.ToLower(s)] {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\r':
			b.WriteString(`\r`)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		case c == 0x85 || c >= 0xa0 && c < 0xa1 || c == 0x2028 || c == 0x2029 || c == 0xfeff:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// flow writes v on one line.
func flow(v config.Foreign) string {
	var parts []string
	switch v.Kind() {
	case config.ForeignObject:
		for _, f := range v.Fields() {
			parts = append(parts, scalar(f.Name)+": "+flow(f.Value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case config.ForeignList:
		for _, item := range v.Items() {
			parts = append(parts, flow(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case config.ForeignText:
		return quote(v.Text())
	case config.ForeignNumber:
		return number(v.Text())
	case config.ForeignBoolean:
		return v.Text()
	}
	return "null"
}

func flowList(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// seconds writes a duration as weir reads it, in whole milliseconds at least.
func seconds(d time.Duration) string {
	if d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return strconv.FormatInt(int64(max((d+time.Millisecond/2)/time.Millisecond, 1)), 10) + "ms"
}
