package importer

import (
	"fmt"
	"strings"
	"testing"
)

func TestRule(t *testing.T) {
	show := func(all [][]term) string {
		var out []string
		for _, terms := range all {
			var one []string
			for _, x := range terms {
				s := fmt.Sprintf("%s%v", x.name, x.args)
				if x.not {
					s = "!" + s
				}
				one = append(one, s)
			}
			out = append(out, strings.Join(one, " "))
		}
		return strings.Join(out, " | ")
	}
	f := func(rule, want string) {
		t.Helper()
		all, err := parseRule(rule)
		have := show(all)
		if err != nil {
			have = "error: " + err.Error()
		}
		if have != want {
			t.Errorf("%s: have %s, want %s", rule, have, want)
		}
	}
	f("Host(`a.example`)", "host[a.example]")
	f("host(\"a\", 'b')&&PathPrefix( `/x` )", "host[a b] pathprefix[/x]")
	// && binds tighter than ||, and brackets tighter than both.
	f("Host(`a`) || Host(`b`) && Path(`/c`)", "host[a] | host[b] path[/c]")
	f("(Host(`a`) || Host(`b`)) && Path(`/c`, `/d`)", "host[a] path[/c] | host[a] path[/d] | host[b] path[/c] | host[b] path[/d]")
	f("!Host(`a`) && !!Method(`GET`)", "!host[a] method[GET]")
	f("Path(`a && b || c) `)", "path[a && b || c) ]")
	f("", "error: a matcher such as Host(`example.com`) is expected at \"\"")
	f("Host(`a`", `error: a , or ) is expected at ""`)
	f("Host(a)", `error: a text between backticks is expected at "a)"`)
	f("Host(`a)", "error: the text `a) is not closed")
	f("Host(`a`) Path(`b`)", "error: \"Path(`b`)\" is left over")
	f("!(Host(`a`) && Host(`b`))", "error: ! before more than one matcher")
	f("(Host(`a`)", "error: a ) is missing")
	f(strings.Repeat("(", 100), "error: nested too deep")
	two := "(Host(`a`)||Host(`b`))"
	f(two+strings.Repeat("&&"+two, 6), "error: more than 64 alternatives")
}

func TestTagPattern(t *testing.T) {
	f := func(in, want, why string) {
		t.Helper()
		got, no := tagPattern(in)
		if got != want || !strings.Contains(no, why) || (no == "") != (why == "") {
			t.Errorf("%s: %q %q", in, got, no)
		}
	}
	f(`(_a=(.*?))_`, `(_a=(.*?))_`, "")
	f(`_a=([a-z(]+)`, `_a=(([a-z(]+))`, "")
	f(`\(x(?:y)(?P<v>z(?:w))`, `\(x(?:y)((?P<v>z(?:w)))`, "")
	f(`^wasmcustom\.(a)`, `^wasmcustom\.((a))`, "")
	f(`^(a)`, `^((a))`, "")
	f(`^cluster\.((.+?)\.)`, "", "other metrics")
	f(`abc`, "", "no group")
	f(`(`, "", "no regular expression")
}
