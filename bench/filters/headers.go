package main

import (
	"fmt"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
)

// headers is the first table: a filter that reads one header of the request, sets one, and adds one to the answer.
type headers struct {
	bare   *turn // an exchange without a filter
	peer   *turn // the other host's handler without one
	rows   []*headerRow
	chains []*chain
}

type headerRow struct {
	abi, name string
	weir      *turn
	peer      *turn // nil: that host does not load it
}

// chain is the filter in C, or by hand, so many times in one exchange.
type chain struct {
	abi  string
	n    int
	turn *turn
}

const (
	httpWasm  = "http-wasm"
	proxyWasm = "Proxy-Wasm"
)

// simple is the request of the first table.
var simple = []ask{{target: "/path?x=1", fields: [][2]string{
	{"accept", "*/*"}, {"user-agent", "bench/1.0 (linux)"}, {"x-forwarded-for", "192.0.2.7"}, {"x-one", "a value"}}}}

func (s *stand) headers(g *guests) (*headers, error) {
	h := &headers{bare: &turn{name: "exchange", run: newClient(simple).run}}
	var err error
	if h.peer, err = s.peer("net/http", nil); err != nil {
		return nil, err
	}
	for _, kind := range []struct {
		abi     string
		modules []module
	}{{httpWasm, g.http}, {proxyWasm, g.proxy}} {
		for _, m := range kind.modules {
			r := &headerRow{abi: kind.abi, name: m.name}
			label := kind.abi + " " + m.name
			f, err := s.open(s.metered, m)
			if err != nil {
				return nil, err
			}
			if r.weir, err = tagged(label, f); err != nil {
				return nil, err
			}
			if kind.abi == httpWasm {
				if r.peer, err = s.peer(label+" net/http", m.code); err != nil {
					return nil, err
				}
			}
			h.rows = append(h.rows, r)
		}
		for _, n := range []int{0, 1, 5} {
			var fs []filter.Filter
			for range n {
				f, err := s.open(s.metered, kind.modules[0])
				if err != nil {
					return nil, err
				}
				fs = append(fs, f)
			}
			t, err := tagged(fmt.Sprintf("%s chain of %d", kind.abi, n), fs...)
			if err != nil {
				return nil, err
			}
			h.chains = append(h.chains, &chain{kind.abi, n, t})
		}
	}
	return h, nil
}

// tagged makes a turn of a chain, once it has been seen to do what it should.
func tagged(name string, fs ...filter.Filter) (*turn, error) {
	c := newClient(simple, fs...)
	c.checked = func(x *exchange.Exchange) error {
		request, answer := string(x.Request.Header.Get("x-tag")), string(x.Response.Header.Get("x-tag"))
		if len(fs) > 0 && (request != "a value" || answer != "weir") {
			return fmt.Errorf("%s: the request has %q, the answer %q", name, request, answer)
		}
		return nil
	}
	if err := c.exchange(); err != nil {
		return nil, err
	}
	c.checked = nil
	return &turn{name: name, run: c.run}, nil
}

// turns are in the order in which they are measured: what is compared stands together.
func (h *headers) turns() (all []*turn) {
	all = append(all, h.bare, h.peer)
	for _, r := range h.rows {
		all = append(all, r.weir)
		if r.peer != nil {
			all = append(all, r.peer)
		}
	}
	for _, c := range h.chains {
		all = append(all, c.turn)
	}
	return all
}
