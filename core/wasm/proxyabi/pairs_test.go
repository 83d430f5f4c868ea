package proxyabi

import (
	"encoding/binary"
	"strings"
	"testing"
)

func TestSetPairs(t *testing.T) {
	p := newProbe(t)
	set := func(kind uint64, b string) {
		t.Helper()
		ptr, n := p.text(b)
		if st := p.call("proxy_set_header_map_pairs", kind, ptr, n); st != statusOK {
			t.Error(st)
		}
	}
	set(0, probeMap("x-a", "1", ":path", "/new", "Host", "example.org", "X-A", "2", "connection", "close", "bad name", "x", "content-length", "7"))
	p.want("request", p.list(0), ":authority=example.org|:path=/new|:method=GET|:scheme=http|x-a=1|x-a=2")
	if p.st.request.unsized || !p.st.rerouted {
		t.Error("the length was named, and the route is to be found anew")
	}
	set(0, probeMap("x-b", "1"))
	if p.want("once more", list(&p.x.Request.Header), "x-b: 1"); !p.st.request.unsized {
		t.Error("Content-Length was left out")
	}
	for _, b := range []string{"", "\x00\x00\x00\x00", "\x01", "\xff\xff\xff\xff", probeMap("a", "b") + "x", probeMap("a", "b")[:12]} {
		p.x.Request.Header.Truncate(0)
		p.x.Request.Header.Add([]byte("x"), []byte("y"))
		set(0, b)
		p.want("an empty map", list(&p.x.Request.Header), "")
	}
	p.answer(200, 4, "a: b")
	set(2, probeMap(":status", "404", "c", "d"))
	p.want("answer", p.list(2), ":status=404|c=d")
}

func TestParsePairs(t *testing.T) {
	f := func(b, want string) {
		t.Helper()
		var out []string
		p := parsePairs([]byte(b))
		for {
			name, value, ok := p.next()
			if !ok {
				break
			}
			out = append(out, string(name)+"="+string(value))
		}
		if have := strings.Join(out, "|"); have != want {
			t.Errorf("%q: %q, want %q", b, have, want)
		}
	}
	many := func(n int) string { return probeMap(strings.Split(strings.Repeat("a,b,", n), ",")[:2*n]...) }
	f(probeMap("a", "1", "", "", "b", "2"), "a=1|=|b=2")
	f(probeMap(), "")
	f("\x00", "")
	f(many(1024), strings.TrimSuffix(strings.Repeat("a=b|", 1024), "|"))
	f(many(1025), "")
	large := strings.Repeat("x", 1<<20-4-8-2-1)
	f(probeMap("a", large), "a="+large)
	f(probeMap("a", large+"x"), "")
	wrap := binary.LittleEndian.AppendUint32(nil, 2)
	for range 4 {
		wrap = binary.LittleEndian.AppendUint32(wrap, 1<<31)
	}
	f(string(wrap), "")
	f(probeMap("a", "b")[:13], "")
}

// FuzzPairs: whatever a guest serialises is read within its bounds, and what is read serialises to the same bytes.
func FuzzPairs(f *testing.F) {
	for _, s := range []string{"", "\x00\x00\x00\x00", probeMap("a", "b", "", "c"), probeMap("a", "b")[:15], "\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var texts []string
		p := parsePairs(b[:len(b):len(b)])
		for {
			name, value, ok := p.next()
			if !ok {
				break
			}
			texts = append(texts, string(name), string(value))
		}
		if len(texts) == 0 {
			return
		}
		want := []byte(probeMap(texts...))
		at := 4 + 8*len(texts)/2
		for i, s := range texts { // separators are not looked at
			at += len(s)
			if i < len(texts) && at < len(b) {
				want[at] = b[at]
			}
			at++
		}
		if string(want) != string(b) {
			t.Errorf("%q became %q", b, want)
		}
	})
}
