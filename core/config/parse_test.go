package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestLoadMissingFile(t *testing.T) {
	_, err := Load("testdata/nowhere.yaml", nil)
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

// Whatever the shape, a small file neither takes long nor much of the stack.
func TestParseHostile(t *testing.T) {
	f := func(name, data, want string) {
		t.Helper()
		start := time.Now()
		_, err := Parse("weir.yaml", []byte(data), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%s: %v", name, err)
		}
		if d := time.Since(start); d > 20*time.Second {
			t.Fatalf("%s took %v", name, d)
		}
	}
	const n = 200_000
	f("lists", strings.Repeat("[", n), "nested more than 100 deep")
	f("maps", strings.Repeat("{a: ", n), "nested more than 100 deep")
	f("list items", strings.Repeat("- ", n), "nested more than 100 deep")
	f("explicit keys", strings.Repeat("? ", n), "nested more than 100 deep")
	f("anchors", "a: "+strings.Repeat("&a ", 1000)+"x", "")
	f("tags", "a: "+strings.Repeat("!a ", n)+"x", "")
	deep := ""
	for i := range 150 {
		deep += strings.Repeat(" ", i) + "a:\n"
	}
	f("block", deep+strings.Repeat(" ", 150)+"b", "nested more than 100 deep")
	f("list items by line", deepList(150), "nested more than 100 deep")
	f("closing", strings.Repeat("]", 1000), "")
	bomb := "version: 1\nissuer:\n- &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("- &%c [%s]\n", c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 10), ", "))
	}
	f("aliases", bomb, "aliases multiply this")
	f("NUL", "version: 1\x00", "weir.yaml:1:11: the file is not UTF-8 text")
	f("size", strings.Repeat("#", maxFile+1), "the file is larger than 32 MiB")
}

func deepList(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "-\n")
	}
	return b.String() + strings.Repeat(" ", n) + "x"
}

func TestParseByteOrderMark(t *testing.T) {
	spec, err := Parse("weir.yaml", []byte("\ufeffversion: 1\r\nlisteners:\r\n  - address: \":8080\"\r\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := spec.Listeners[0].Pos; got != (Pos{"weir.yaml", 3, 5, "listeners[0]"}) {
		t.Fatal(got)
	}
}

// A configuration of the size that a machine writes stays a matter of moments.
func TestParseMany(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\nlisteners: [{address: \":8080\"}]\nupstreams:\n")
	const n = 2000
	for i := range n {
		fmt.Fprintf(&b, "  u%d: {endpoints: [http://10.0.0.1:9000]}\n", i)
	}
	b.WriteString("routes:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {match: {path: /p%d/*}, auth: none, upstream: u%d}\n", i, i)
	}
	start := time.Now()
	spec, err := Parse("weir.yaml", []byte(b.String()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(spec.Routes) != n || len(spec.Warnings) != 0 {
		t.Fatal(len(spec.Routes), spec.Warnings)
	}
	t.Logf("%d routes in %v", n, time.Since(start))
}

func TestSpecByName(t *testing.T) {
	spec, err := Load("testdata/full.yaml", lookup)
	if err != nil {
		t.Fatal(err)
	}
	if u := spec.Upstream("api"); u == nil || u.Endpoints[2].Host() != "2001:db8::1" {
		t.Fatal(u)
	}
	if spec.Upstream("x") != nil || spec.WasmFilter("x") != nil || spec.JWTProvider("x") != nil {
		t.Fatal("found what is not there")
	}
	if spec.WasmFilter("tagger") == nil || spec.JWTProvider("shared") == nil {
		t.Fatal("not found")
	}
	got, err := spec.JWTProvider("shared").Secret.Read()
	if err != nil || string(got) != testEnv["SECRET"] {
		t.Fatal(err)
	}
	if printed := fmt.Sprintf("%v %+v %#v %s", *spec, *spec, *spec, spec.Admin.Token); strings.Contains(printed, testEnv["SECRET"]) || strings.Contains(printed, testEnv["TOKEN"]) {
		t.Fatal("a secret is printed")
	}
}

// What a variable holds is never expanded again, nor taken for a template.
func TestExpand(t *testing.T) {
	f := func(in string, want ...Part) {
		t.Helper()
		got, err := expand(in, lookup)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Parts, want) {
			t.Fatalf("%q is %q, want %q", in, got.Parts, want)
		}
		again, err := expand(got.String(), lookup)
		if err != nil || !reflect.DeepEqual(again.Parts, got.Parts) {
			t.Fatalf("%q prints as %q, which is %q, %v", in, got, again.Parts, err)
		}
	}
	text := func(s string) Part { return Part{Text: s} }
	ref := func(k RefKind, name string) Part { return Part{Ref: Ref{k, name}} }

	// no dollar, and dollars that mean themselves
	f("")
	f("plain", text("plain"))
	f("$", text("$"))
	f("$x 5$", text("$x 5$"))
	f("$$", text("$"))
	f("$${PORT}", text("${PORT}"))
	f("$$$$a", text("$$a"))
	// variables
	f("${PORT}", text("8080"))
	f(":${PORT}/${PORT}", text(":8080/8080"))
	f("${EMPTY}")
	f("${EMPTY:-x}", text("x"))
	f("${NOWHERE:-}")
	f("${NOWHERE:-a:-b $ c}", text("a:-b $ c"))
	f("${NESTED}", text("${PORT} $$ ${request.id}"))
	// references
	f("${request.id}", ref(RefRequestID, ""))
	f("a${path.id}b${PORT}", text("a"), ref(RefPath, "id"), text("b8080"))
	f("${identity.claim.a.b}", ref(RefClaim, "a.b"))
	f("${client.ip}${identity.subject}${route.name}", ref(RefClientIP, ""), ref(RefSubject, ""), ref(RefRouteName, ""))
}

func TestExpandErrors(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		_, err := expand(in, lookup)
		if err == nil || err.Error() != want {
			t.Fatalf("%q: %v", in, err)
		}
	}
	f("${NOWHERE}", "the variable NOWHERE is not set; ${NOWHERE:-…} gives it a default")
	f("${", `"${" is not closed; write $$ for a dollar`)
	f("a ${PORT", `"${PORT" is not closed; write $$ for a dollar`)
	f("${}", "there is no ${}; a variable has capitals, digits and _ only")
	f("${1A}", "there is no ${1A}; a variable has capitals, digits and _ only")
	f("${request.idd}", `there is no ${request.idd}; did you mean "request.id"?`)
	f("${path.}", "there is no ${path.}; a variable has capitals, digits and _ only")
	f("${A:-${PORT}}", "${A:-${PORT}: one ${…} cannot stand in another")
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	write := func(name, s string) Secret {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		return Secret{File: file}
	}
	f := func(s Secret, want, wantErr string) {
		t.Helper()
		got, err := s.Read()
		if err != nil {
			if wantErr == "" || !strings.Contains(err.Error(), wantErr) {
				t.Fatal(err)
			}
			return
		}
		if string(got) != want {
			t.Fatalf("%q", got)
		}
	}
	f(Secret{}, "", "")
	f(NewSecret("a"), "a", "")
	f(write("line", "a b\r\n"), "a b", "")
	f(write("none", "\n"), "", "the file is empty")
	f(Secret{File: filepath.Join(dir, "nowhere")}, "", "no such file")

	if !(Secret{}).IsZero() || NewSecret("a").IsZero() || write("x", "x").IsZero() {
		t.Fatal("IsZero")
	}
	if got := fmt.Sprintf("%v %#v %q", NewSecret("a"), NewSecret("a"), Secret{}); got != `*** "***" ""` {
		t.Fatal(got)
	}
}

func TestProblems(t *testing.T) {
	var ps Problems
	if ps.Err() != nil {
		t.Fatal("an error without problems")
	}
	at := Pos{"weir.yaml", 7, 3, "routes[0]"}
	first := Pos{"weir.yaml", 2, 1, ""}
	ps.Add(nil)
	ps.Add(fmt.Errorf("build plan: %w", at.Errorf("no %s", "luck")))
	ps.Add(errors.Join(first.Errorf("early"), errors.New("nowhere")))
	var more Problems
	more.Add(Pos{"weir.yaml", 7, 1, "x"}.Errorf("more"))
	ps.Add(more.Err())
	const want = "nowhere\n" +
		"weir.yaml:2:1: early\n" +
		"weir.yaml:7:1: x: more\n" +
		"weir.yaml:7:3: routes[0]: build plan: no luck"
	if got := ps.Err().Error(); got != want {
		t.Fatalf("got:\n%s\nwant:\n%s", got, want)
	}
	var p *Problem
	if !errors.As(ps.Err(), &p) || p.Message != "nowhere" {
		t.Fatal(p)
	}
	if got := ps.List[3].Pos(); got != at {
		t.Fatal(got)
	}
}

func TestSuggest(t *testing.T) {
	f := func(got, want string, names ...string) {
		t.Helper()
		if s := suggest(got, names); s != want {
			t.Fatalf("%q of %q: %q, want %q", got, names, s, want)
		}
	}
	f("uptream", `; did you mean "upstream"?`, "name", "upstream")
	f("htos", `; did you mean "host"?`, "host", "match")
	f("HOST", `; did you mean "host"?`, "host", "match")
	f("recv", `; did you mean "recv_timeout"?`, "recv_timeout", "send_timeout")
	// what others call it
	f("HTTP2", `; did you mean "h2"?`, "http1", "h2")
	f("grpc", `; did you mean "h2"?`, "http1", "h2")
	f("grpc", "", "host")
	// nothing near
	f("", "", "a")
	f("x", "", "a", "b")
	f("colour", "", "host", "match")
	f("x", "")
}

func TestAddress(t *testing.T) {
	f := func(a Address, text string, private bool) {
		t.Helper()
		if a.String() != text || a.Private() != private {
			t.Fatalf("%q %v", a, a.Private())
		}
	}
	f(Address{TCP, ":80"}, ":80", false)
	f(Address{TCP, "0.0.0.0:80"}, "0.0.0.0:80", false)
	f(Address{TCP, "127.0.0.9:80"}, "127.0.0.9:80", true)
	f(Address{TCP, "[::1]:80"}, "[::1]:80", true)
	f(Address{TCP, "[::ffff:127.0.0.1]:80"}, "[::ffff:127.0.0.1]:80", true)
	f(Address{TCP, "localhost:80"}, "localhost:80", true)
	f(Address{TCP, "example.com:80"}, "example.com:80", false)
	f(Address{Unix, "/run/w.sock"}, "unix:/run/w.sock", true)
	f(Address{Systemd, "web"}, "systemd:web", false)
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, seed := range []string{
		"a: &a [*a]", "{a: [b:c:d, ::1]}", "{[a]: b}", "<<: {a: 1}", "<<: [*x]", "? - a", "- &a\n- *a", "a: !!binary x", "a: |\n  ${X}",
		"%YAML 1.1\n---\nversion: 1", "version: 1\nlisteners: [{address: \"${A:-:1}\"}]", "*a : b", "&a : b", "{? a}", "a: >-\n\n", "[a:]b", "{a:1:2}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := Parse("weir.yaml", data, lookup)
		if err == nil {
			if spec == nil || len(spec.Listeners) == 0 {
				t.Fatal("neither a Spec nor an error")
			}
			return
		}
		var ps *Problems
		if !errors.As(err, &ps) || len(ps.List) == 0 || spec != nil {
			t.Fatalf("%v, %v", spec, err)
		}
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 2
		for _, p := range ps.List {
			if p.File != "weir.yaml" || p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" {
				t.Fatalf("%+v", p)
			}
		}
	})
}
