package route

import (
	"fmt"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
)

// large gives n matches of the kinds that configurations have, spread over ten hosts.
func large(n int) []Match {
	list := make([]Match, 0, n)
	for i := range n {
		m := Match{Hosts: []string{fmt.Sprintf("host%d.example.com", i%10)}}
		switch i % 4 {
		case 0:
			m.Path = fmt.Sprintf("/service%d/*", i)
		case 1:
			m.Path = fmt.Sprintf("/service%d", i)
		case 2:
			m.Path = fmt.Sprintf("/service%d/things/{id}", i)
			m.Methods = []string{"GET", "POST"}
		case 3:
			m.Path = fmt.Sprintf("/service%d/things/{id}/parts", i)
		}
		list = append(list, m)
	}
	return list
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		table := MustCompile(b, large(n)...)
		last := n/10*10 - 1 - 2 // a match of the fourth kind, near the end
		for last%4 != 3 {
			last--
		}
		hit := request("GET", fmt.Sprintf("host%d.example.com:8443", last%10), fmt.Sprintf("/service%d/things/42/parts", last))
		miss := request("GET", "host1.example.com", "/nothing/here")
		for name, r := range map[string]*exchange.Request{"hit": hit, "miss": miss} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				var p exchange.Params
				for b.Loop() {
					table.Find(r, &p)
				}
			})
		}
	}
	any := MustCompile(b, Match{})
	r := request("GET", "localhost:8080", "/v1/chat")
	b.Run("everything", func(b *testing.B) {
		var p exchange.Params
		for b.Loop() {
			any.Find(r, &p)
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	list := large(10000)
	for b.Loop() {
		if _, err := Compile(list); err != nil {
			b.Fatal(err)
		}
	}
}
