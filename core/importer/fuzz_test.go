package importer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/config"
)

// whatever checks what holds of every import: a configuration that weir parses, or problems with places.
func whatever(t *testing.T, r *Result, err error) {
	t.Helper()
	if err == nil {
		for _, n := range r.Report {
			if n.Pos.Line < 1 || n.Pos.Column < 1 || strings.Contains(n.String(), "\n") {
				t.Fatalf("%q", n.String())
			}
		}
		if _, err := parse(r.YAML); err != nil {
			t.Fatalf("%v\n%s", err, r.YAML)
		}
		return
	}
	var ps *config.Problems
	if !errors.As(err, &ps) || strings.Contains(err.Error(), "please report") || r != nil {
		t.Fatal(err)
	}
	for _, p := range ps.List {
		if p.Message != "there is nothing to import" && (p.Line < 1 || p.Column < 1) {
			t.Fatalf("%+v", p)
		}
	}
}

func seeds(f *testing.F, kind string) {
	files, err := filepath.Glob("testdata/" + kind + "-*/*")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	dot, _ := filepath.Glob("testdata/" + kind + "-*/.traefik.yml")
	for _, file := range append(files, dot...) {
		if data, err := os.ReadFile(file); err == nil && !strings.HasPrefix(filepath.Base(file), "out.") {
			f.Add(data)
		}
	}
}

func FuzzEnvoy(f *testing.F) {
	seeds(f, "envoy")
	for _, s := range []string{
		"static_resources: {clusters: [{name: a}, {name: a}, {name: \"\"}, {name: \"${X}\"}]}", "virtual_hosts: [{domains: []}]", "[]", "{}", "typed_config: {\"@type\": x.filters.http.wasm.Wasm}", "\"@type\": x.Resource", "kind: List\nitems: [{kind: EnvoyFilter}]",
		"typed_config: {\"@type\": x.filters.http.wasm.Wasm, config: {vm_config: {code: {local: {filename: \"a\\tb\"}}, environment_variables: {key_values: {\"A=\": b}}}}}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := config.ParseForeign("in.yaml", data)
		if err != nil {
			return
		}
		r, err := Envoy(docs)
		whatever(t, r, err)
	})
}

func FuzzTraefik(f *testing.F) {
	seeds(f, "traefik")
	for _, s := range []string{
		"http: {routers: {a: {rule: \"Host(`a`)\", service: a}}}", "http: {middlewares: {a: {chain: {middlewares: [a]}}}, routers: {b: {middlewares: [a], rule: \"Path(`/`)\"}}}",
		"runtime: wasm", "kind: Middleware\napiVersion: x", "http: {middlewares: {a: }}", "entryPoints: {a: {address: x}}", "http: {services: {a: {mirroring: {service: a, mirrors: [{name: a, percent: 200}]}}}, routers: {b: {service: a, rule: \"Path(`/`)\"}}}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := config.ParseForeign("in.yaml", data)
		if err != nil {
			return
		}
		r, err := Traefik(docs, ".")
		whatever(t, r, err)
	})
}

// FuzzText: what a filter is given is what the source had, to the byte.
func FuzzText(f *testing.F) {
	for _, s := range []string{"a", "a\nb", "a\nb\n", " a\nb", "a\n\n\nb", "a\n \nb", "- a\nb: c\n# d", "${X}\n$$", "\t\na", "a\r\nb", "\u0085\u2028\ufeff", "yes", "null", "1e3", "\x00\x7f", "a #b", "|\nx", "a\n---\nb", "...\n%a\n", "\"'`{[&*!"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ToValidUTF8(s, "") != s {
			return
		}
		flt := &wasmFilter{name: "f", file: "f.wasm", config: payload{text: s, kind: textPayload}, vmConfig: payload{text: s, kind: textPayload}}
		m := model{listeners: []*listener{{address: ":1"}}, filters: []*wasmFilter{flt}}
		spec, err := parse(m.yaml())
		if err != nil {
			t.Fatalf("%v\n%s", err, m.yaml())
		}
		if c := &spec.Wasm[0]; c.Config != s || c.VMConfig != s {
			t.Fatalf("%q became %q\n%s", s, c.Config, m.yaml())
		}
	})
}

// FuzzTree: keys and values come out as the JSON that they stand for.
func FuzzTree(f *testing.F) {
	for _, s := range []string{
		`{"a": [1, 1.50, true, null, "x", {"b": {}}], "c d": {"e": "f: g"}}`, `{"": 1}`, `{"<<": {"a": 1}}`, `{"${X}": "${X}"}`, `{"a": 1e400, "b": -0, "c": 12345678901234567890}`,
		`[1, [2, [3]]]`, `{"yes": "no", "1": "2", "null": null, "~": "~"}`, "a: 0x1F\nb: 1_000\nc: .inf\nd: 010\ne: 1e5\nf: +1", `{"a": {"b": {"c": {"d": "\u0000\u2028"}}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := config.ParseForeign("in.yaml", data)
		if err != nil || len(docs) != 1 || docs[0].Kind() != config.ForeignObject && docs[0].Kind() != config.ForeignList {
			return
		}
		r := newRun(docs)
		flt := r.filter(&wasmFilter{pos: docs[0].Pos(), name: "f", file: "f.wasm", config: treeOf(docs[0])})
		if flt == nil {
			t.Fatalf("refused: %v", r.notes)
		}
		spec, err := parse((&model{listeners: []*listener{{address: ":1"}}, filters: []*wasmFilter{flt}}).yaml())
		if err != nil {
			t.Fatal(err)
		}
		if want := string(appendJSON(nil, docs[0])); spec.Wasm[0].Config != want {
			t.Fatalf("%s\nbecame %s", want, spec.Wasm[0].Config)
		}
	})
}

func FuzzRule(f *testing.F) {
	for _, s := range []string{"Host(`a`)", "Host(`a`) && (Path(`/b`) || !Method(`GET`, `PUT`))", "((((", "!!Host(`a`)", "Host(`a`)||Host(\"b\")||PathPrefix('/c')", "A(`", "A(`a`,)", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		all, err := parseRule(s)
		if (err == nil) != (len(all) > 0) || len(all) > maxAlternatives {
			t.Fatal(len(all), err)
		}
		for _, terms := range all {
			if len(terms) == 0 {
				t.Fatal("an alternative that matches everything")
			}
			matchTerms(terms, &route{})
		}
	})
}
