package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseEndpoints(t *testing.T) {
	f := func(doc, want string) {
		t.Helper()
		list, err := ParseEndpoints("endpoints.yaml", []byte(doc))
		got := fmt.Sprint(err)
		if err == nil {
			var all []string
			for _, e := range list {
				all = append(all, fmt.Sprintf("%s %s %d %t", e.Scheme, e.Address, e.Weight, e.SRV))
			}
			got = strings.Join(all, "; ")
		}
		if !strings.Contains(got, want) || strings.Contains(got, "\n") {
			t.Errorf("%q:\n%s\nwant\n%s", doc, got, want)
		}
	}
	f("- http://10.0.0.1\n- {url: \"https://B.example:8443\", weight: 3}\n", "http 10.0.0.1:80 1 false; https b.example:8443 3 false")
	f(`["http://10.0.0.1:1", {"url": "srv+http://_api._tcp.example.com"}]`, "http 10.0.0.1:1 1 false; http _api._tcp.example.com 1 true")
	f("", "endpoints.yaml:1:1: the file is empty")
	f("# nothing yet\n", "endpoints.yaml:1:1: the file is empty")
	f("[]", "endpoints.yaml:1:1: at least one endpoint is needed")
	f("endpoints: [http://a]", "endpoints.yaml:1:1: wants a list")
	f("http://a", "wants a list")
	f("- http://a\n- htp://b\n", "endpoints.yaml:2:3: [1]: wants a URL")
	f("- http://a\n- http://a:80\n", "endpoints.yaml:2:3: [1]: the endpoint a:80 stands in the list twice")
	f("- {url: http://a, weigt: 2}\n", `did you mean "weight"?`)
	f("- {file: other.yaml}\n", "a file is the only item of its list")
	f("- http://${HOST}\n", "HOST")
	f("- http://a\n- http://b", "http a:80 1 false; http b:80 1 false")
	f("- \"http://a\n", "endpoints.yaml:1:")
	f("\xff", "not UTF-8")
}
