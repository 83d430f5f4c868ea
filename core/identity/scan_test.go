package identity

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParseClaims(t *testing.T) {
	text := `{"s":"a\u00e9\ud83d\ude00\n","n":-1.50e+2,"t":true,"f":false,"z":null,"e":"","o":{"a":{"b":"deep"},"":"noname"},"l":["x",1,true,null,{"q":1},["r"],"y"],"p":["x","y"],"none":[],"https://e.example/r":"dots"}`
	c, ok := parseClaims(text)
	if !ok {
		t.Fatal("refused")
	}
	f := func(path, value string, found bool, list ...string) {
		t.Helper()
		v, ok := c.Value(path)
		if v != value || ok != found {
			t.Errorf("value of %q: %q, %v", path, v, ok)
		}
		if l, _ := c.List(path); !slices.Equal(l, list) {
			t.Errorf("list of %q: %q", path, l)
		}
	}
	f("s", "aé😀\n", true, "aé😀\n")
	f("n", "-1.50e+2", true, "-1.50e+2") // numbers keep their spelling
	f("t", "true", true, "true")
	f("f", "false", true, "false")
	f("z", "", false)
	f("e", "", true, "")
	f("o", "", false)
	f("o.a.b", "deep", true, "deep")
	f("o.", "noname", true, "noname")
	f("l", "", false, "x", "1", "true", "y")
	f("l.q", "", false)
	f("p", "", false, "x", "y")
	f("none", "", false)
	f("https://e.example/r", "dots", true, "dots")
	f("absent", "", false)
	f("", "", false)
	for path, has := range map[string]bool{"s": true, "n": true, "f": true, "z": false, "e": false, "o": true, "o.a": true, "l": true, "none": true, "absent": false} {
		if c.Has(path) != has {
			t.Errorf("has %q: %v", path, !has)
		}
	}
	if c.Len() != 14 {
		t.Errorf("%d paths", c.Len())
	}
	list, _ := c.List("p")
	if cap(list) != len(list) {
		t.Error("appending to a list would write into the next claim")
	}
}

func TestScannerRefuses(t *testing.T) {
	for _, bad := range []string{
		"", "{", "}", "[]", `"x"`, "1", "{}}", "{}{}", "{} x", " {}", "{\x00}", "{}\x00", "\x00",
		`{"a"}`, `{"a":}`, `{"a":1,}`, `{,"a":1}`, `{"a":1 "b":2}`, `{"a":1;"b":2}`, `{a:1}`, `{'a':1}`, `{"a" 1}`, `{"a":1,,"b":2}`, `{1:2}`, `{"a":1`, `{"a`, `{"a":"`,
		`{"a":[1,]}`, `{"a":[,1]}`, `{"a":[1 2]}`, `{"a":[1}`, `{"a":[1`, `{"a":[`, `{"a":[}]}`, `{"a":[{]}`, `{"a":[[}]}`,
		`{"a":tru}`, `{"a":True}`, `{"a":nul}`, `{"a":nulll}`, `{"a":fals`, `{"a":undefined}`,
		`{"a":01}`, `{"a":-}`, `{"a":+1}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":1e+}`, `{"a":1e-}`, `{"a":0x1}`, `{"a":1_0}`, `{"a":Infinity}`, `{"a":-01}`, `{"a":--1}`, `{"a":1.e1}`,
		`{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\u123g"}`, `{"a":"\"}`, `{"a":"\`, `{"a":"\u`, `{"a":"\ud800"}`, `{"a":"\udc00"}`, `{"a":"\ud800\ud800"}`, `{"a":"\ud800x"}`, `{"a":"\ud800\n"}`,
		"{\"a\":\"\t\"}", "{\"a\":\"\n\"}", "{\"a\":\"\xc0\xaf\"}", "{\"a\xff\":1}", "{\u00a0\"a\":1}", `{"a":1}//`, `{/**/"a":1}`,
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":{"b":1,"b":2}}`, `{"a":[{"b":1,"b":2}]}`, `{"":1,"":2}`, `{"a":[{"b":{"c":1,"c":1}}]}`,
	} {
		if strictJSON(bad) {
			t.Errorf("took %q", bad)
		}
		if _, ok := parseClaims(bad); ok {
			t.Errorf("took %q as claims", bad)
		}
	}
	// Not JSON's fault but ours to refuse: a path that would stand for two claims.
	for _, bad := range []string{`{"a.b":1,"a":{"b":2}}`, `{"a":{"b.c":1,"b":{"c":2}}}`, `{"a.":1,"a":{"":2}}`} {
		if _, ok := parseClaims(bad); ok || !strictJSON(bad) {
			t.Errorf("%s", bad)
		}
	}
}

// What the scanner takes, encoding/json takes and reads the same; a claim never means two things to two readers.
func FuzzScan(f *testing.F) {
	f.Add(claims(`"a":[1,"x",{"b":null}]`, `"o":{"p":{"q":"\ud83d\ude00"}}`))
	f.Add(`{"a":1,"\u0061":2}`)
	f.Add(`{"a":[[[{"b":-0.5e-7}]]]} `)
	f.Add("{\"a\":\"\xff\"}")
	f.Fuzz(func(t *testing.T, text string) {
		c, ok := parseClaims(text)
		if ok && !strictJSON(text) {
			t.Fatal("collected but not strict")
		}
		if !strictJSON(text) {
			return
		}
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var m map[string]any
		if err := d.Decode(&m); err != nil {
			t.Fatalf("encoding/json refuses what we took: %v", err)
		}
		for name, v := range m {
			if s, scalar := v.(string); ok && scalar {
				if got, found := c.Value(name); !found || got != s {
					t.Fatalf("%q is %q here and %q there", name, got, s)
				}
			}
			if n, scalar := v.(json.Number); ok && scalar {
				if got, _ := c.Value(name); got != n.String() {
					t.Fatalf("%q is %q here and %q there", name, got, n)
				}
			}
		}
	})
}

func TestNewClaims(t *testing.T) {
	texts := map[string][]string{"team": {"blue"}, "groups": {"a", "b"}, "none": nil}
	for i := range 50 {
		texts[fmt.Sprintf("c%02d", i)] = []string{fmt.Sprint(i)}
	}
	c := NewClaims(texts)
	texts["groups"][0] = "changed"
	if v, ok := c.Value("team"); !ok || v != "blue" {
		t.Fatalf("team %q", v)
	}
	if l, _ := c.List("groups"); !slices.Equal(l, []string{"a", "b"}) {
		t.Fatalf("groups %q", l)
	}
	if l, ok := c.List("none"); !ok || len(l) != 0 {
		t.Fatalf("none %q %v", l, ok)
	}
	for i := range 50 {
		if v, _ := c.Value(fmt.Sprintf("c%02d", i)); v != fmt.Sprint(i) {
			t.Fatalf("claim %d is %q", i, v)
		}
	}
	var zero Claims
	if _, ok := zero.Value("x"); ok || zero.Has("x") || zero.Len() != 0 {
		t.Fatal("zero claims hold something")
	}
}
