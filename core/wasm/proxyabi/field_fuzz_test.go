package proxyabi

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// model is a request's map as a guest may think of it: pairs in order, changed by plain rules.
type model struct {
	pairs   [][2]string
	pseudo  map[string]string
	unsized bool
}

func (m *model) index(name string) int {
	return slices.IndexFunc(m.pairs, func(p [2]string) bool { return p[0] == name })
}

func (m *model) set(name, value string, add bool) {
	lower := strings.ToLower(name)
	value = strings.Trim(value, " \t")
	switch lower {
	case "content-length", "connection", "te", "transfer-encoding", "upgrade":
		return
	case ":authority", "host":
		if slices.Contains([]string{"example.org", "b", "x", "spaced"}, value) {
			m.pseudo[":authority"] = value
		}
		return
	case ":path":
		if value == "/a/./b" {
			m.pseudo[lower] = "/a/b"
		}
		return
	}
	switch {
	case name == "", strings.ContainsAny(name, ": \r"), strings.ContainsAny(value, "\r\n\x00"):
	case add || m.index(lower) < 0:
		m.pairs = append(m.pairs, [2]string{lower, value})
	default:
		i := m.index(lower)
		m.pairs[i][1] = value
		rest := slices.DeleteFunc(slices.Clone(m.pairs[i+1:]), func(p [2]string) bool { return p[0] == lower })
		m.pairs = append(m.pairs[:i+1], rest...)
	}
}

func (m *model) remove(name string) {
	lower := strings.ToLower(name)
	m.unsized = m.unsized || lower == "content-length"
	if !strings.HasPrefix(lower, ":") {
		m.pairs = slices.DeleteFunc(m.pairs, func(p [2]string) bool { return p[0] == lower })
	}
}

func (m *model) list() string {
	out := []string{":authority=" + m.pseudo[":authority"], ":path=" + m.pseudo[":path"], ":method=POST", ":scheme=http"}
	for _, p := range m.pairs {
		out = append(out, p[0]+"="+p[1])
	}
	if !m.unsized {
		out = append(out, "content-length=5")
	}
	return strings.Join(out, "|")
}

// FuzzMap has a guest change a map at random, and compares it with the model after every step.
func FuzzMap(f *testing.F) {
	names := []string{"x-a", "X-A", "x-b", "Host", ":authority", ":path", "content-length", "Connection", "te", "upgrade",
		"", "bad name", ":other", "a\rb", "transfer-encoding"}
	values := []string{"", "x", " spaced ", "example.org", "b", "a\r\nb", "/a/./b", "a\x00"}
	for i := range 16 {
		f.Add(bytes.Repeat([]byte{byte(i), byte(3 * i), byte(7 * i), 0x21, 0x53}, i))
	}
	p := newProbe(f)
	f.Fuzz(func(t *testing.T, steps []byte) {
		p.t = t
		p.again()
		p.x.Request.Body.Init(5, (*silence)(nil))
		p.x.Request.Header.Truncate(0)
		p.st.request.unsized = false
		m := &model{pseudo: map[string]string{":authority": "a value", ":path": "/path"}}
		for len(steps) >= 3 && len(m.pairs) < 200 {
			name, value := names[int(steps[1])%len(names)], values[int(steps[2])%len(values)]
			switch steps[0] % 4 {
			case 0:
				p.add(0, name, value)
				m.set(name, value, true)
			case 1:
				p.replace(0, name, value)
				m.set(name, value, false)
			case 2:
				p.remove(0, name)
				m.remove(name)
			case 3:
				ptr, n := p.text(probeMap(name, value, "x-set", "1"))
				p.call("proxy_set_header_map_pairs", 0, ptr, n)
				m.pairs = nil
				m.set(name, value, true)
				m.set("x-set", "1", true)
				m.unsized = m.unsized || name != "content-length"
			}
			if have, want := p.list(0), m.list(); have != want {
				t.Fatalf("after %q %q\nhave %q\nwant %q", name, value, have, want)
			}
			steps = steps[3:]
		}
	})
}
