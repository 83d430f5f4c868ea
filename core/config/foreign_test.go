package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// show writes f with the places of all that is in it.
func show(f Foreign) string {
	at := fmt.Sprintf("@%d:%d", f.Pos().Line, f.Pos().Column)
	switch f.Kind() {
	case ForeignObject:
		var all []string
		for _, e := range f.Fields() {
			all = append(all, fmt.Sprintf("%s@%d:%d=%s", e.Name, e.Pos.Line, e.Pos.Column, show(e.Value)))
		}
		return "{" + strings.Join(all, " ") + "}"
	case ForeignList:
		var all []string
		for _, e := range f.Items() {
			all = append(all, show(e))
		}
		return "[" + strings.Join(all, " ") + "]"
	case ForeignNull:
		return "null" + at
	case ForeignText:
		return fmt.Sprintf("%q%s", f.Text(), at)
	}
	return f.Text() + at
}

func TestForeign(t *testing.T) {
	f := func(name, text string, want ...string) {
		t.Helper()
		list, err := ParseForeign(name, []byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			return
		}
		var have []string
		for _, d := range list {
			have = append(have, show(d))
		}
		if strings.Join(have, "\n") != strings.Join(want, "\n") {
			t.Errorf("%q\nhave %s\nwant %s", text, strings.Join(have, "\n"), strings.Join(want, "\n"))
		}
	}
	f("a.yaml", "a: 1\nb: [x, \"${Y}\"]\n${K}: ~\n", `{a@1:1=1@1:4 b@2:1=["x"@2:5 "${Y}"@2:8] ${K}@3:1=null@3:7}`)
	// Several documents, one of them empty; anchors are a document's own.
	f("a.yaml", "---\na: &x 1\n---\n# nothing\n---\nb: &x 2\nc: *x\n", `{a@2:1=1@2:7}`, `{b@6:1=2@6:7 c@7:1=2@6:7}`)
	f("a.yaml", "")
	// JSON, with what is no YAML in it, and several texts.
	f("a.yaml", "{\n\t\"a\": [true, null],\n\t\"b\": \"\\u00e9\\ud83d\\ude00\\/\", \"é\": 1.50}\n{\"c\":{}}", `{a@2:2=[true@2:8 null@2:14] b@3:2="é😀/"@3:7 é@3:31=1.50@3:36}`, `{c@4:2={}}`)
	f("a.json", "  12345678901234567890 ", `12345678901234567890@1:3`)
	// Flow YAML looks like JSON at first.
	f("a.yaml", "{a: b}", `{a@1:2="b"@1:5}`)

	bad := func(name, text, want string) {
		t.Helper()
		list, err := ParseForeign(name, []byte(text))
		var ps *Problems
		if list != nil || !errors.As(err, &ps) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %s", text, list, err, want)
		}
	}
	bad("a.yaml", "a: [", "a.yaml:1:4: ")
	bad("a.yaml", "a: 1\na: 2", "a.yaml:2:1: a: duplicate key; it stands in line 1 already")
	bad("a.yaml", "a: \xff", "a.yaml:1:4: the file is not UTF-8 text")
	bad("a.yaml", "a: !!binary eA==", "a.yaml:1:4: a: tags such as !!binary are not read")
	bad("a.json", "{\"a\": 1,\n \"a\": 2}", "a.json:2:2: duplicate key; it stands in line 1 already")
	bad("a.json", "{\n  \"a\": x}", "a.json:2:8: no JSON: invalid character 'x' looking for beginning of value")
	bad("a.json", "{\"a\": [1,", "a.json:1:10: no JSON: the file ends in the middle of a value")
	bad("a.json", "a: 1", "a.json:1:1: no JSON: ")
	bad("a.json", strings.Repeat("[", 200), "a.json:1:102: nested more than 100 deep")
	bad("a.yaml", strings.Repeat("[", 200), "a.yaml:1:102: nested more than 100 deep")

	var none Foreign
	if none.Kind() != ForeignAbsent || none.Get("x").Kind() != ForeignAbsent || none.Items() != nil || none.Fields() != nil || none.Text() != "" || none.Describe() != "nothing" {
		t.Error("what is not there is something")
	}
	if _, err := LoadForeign("testdata/none"); err == nil {
		t.Error("loaded")
	}
	if list, err := LoadForeign("testdata/full.yaml"); err != nil || len(list) != 1 || list[0].Get("listeners").Kind() != ForeignList {
		t.Error(list, err)
	}
}

// FuzzForeign: whatever the file, there are values with places or problems with places.
func FuzzForeign(f *testing.F) {
	for _, seed := range []string{"{\"a\": [1, true, null, \"x\"]}", "a: &x [*x]\n---\nb: 1", "{", "[1]{\"a\":1}", "{\"a\":1}x", "{\"a\" \"b\"}", "\t{}", "{a: b}\n---\n{}"} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, asJSON bool) {
		name := "a.yaml"
		if asJSON {
			name = "a.json"
		}
		list, err := ParseForeign(name, data)
		if err != nil {
			var ps *Problems
			if !errors.As(err, &ps) || len(ps.List) == 0 || list != nil || ps.List[0].Line < 1 || ps.List[0].Column < 1 {
				t.Fatalf("%v, %v", list, err)
			}
			return
		}
		nodes := 0
		for _, d := range list {
			walk(t, d, &nodes)
		}
	})
}

func walk(t *testing.T, f Foreign, nodes *int) {
	if *nodes++; *nodes > 10_000 { // aliases multiply
		return
	}
	if f.Pos().Line < 1 || f.Pos().Column < 1 || f.Kind() == ForeignAbsent {
		t.Fatalf("%v %v", f.Pos(), f.Kind())
	}
	for _, e := range f.Fields() {
		walk(t, e.Value, nodes)
	}
	for _, e := range f.Items() {
		walk(t, e, nodes)
	}
}

// What comes after an empty document is not forgotten: a configuration would lose half of itself unseen.
func TestSecondDocument(t *testing.T) {
	for _, between := range []string{"---\n---\n", "---\n# a comment\n---\n", "...\n---\n"} {
		_, err := Parse("weir.yaml", []byte("version: 1\nlisteners: [{address: \":80\"}]\n"+between+"routes: []\n"), nil)
		if err == nil || !strings.Contains(err.Error(), "a second document; a configuration is one document") {
			t.Errorf("%q: %v", between, err)
		}
	}
}
