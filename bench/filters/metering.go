package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/weirproxy/weir/core/exchange"
)

// pair is one filter in both engines.
type pair struct {
	name, does     string
	metered, plain *turn
	bare           *turn // the same exchanges without a filter
}

func turnsOf(pairs []*pair) (all []*turn) {
	for _, p := range pairs {
		all = append(all, p.bare, p.metered, p.plain)
	}
	return all
}

// real is a filter with work to do.
type real struct {
	module
	does  string
	asks  []ask
	field string // of the request, that it sets; empty: none
}

// metering is the second table.
func (s *stand) metering(g *guests) ([]*pair, error) {
	var pairs []*pair
	for _, r := range []real{
		{module{name: "tag, stock Go, http-wasm", code: g.tag}, "examples/01-tag-filter; half of the requests bring a tag", browsing(), "x-tag"},
		{module{name: "validate, Go SDK, Proxy-Wasm", code: g.sdk, root: "validate"}, "a pattern over all headers; every second request is a JSON body of 4 KiB, decoded", orders(), ""},
		{module{name: "digest, C, http-wasm", code: g.digest}, "SHA-256 of bodies of 200 B to 16 KiB", uploads(), "x-digest"},
		{module{name: "cookies, Rust, Proxy-Wasm", code: g.cookies}, "cookies and parameters taken apart, filtered, put together", browsing(), "x-dropped"},
		{module{name: "bucket, AssemblyScript, http-wasm", code: g.buckets}, "a hash over four headers", browsing(), "x-bucket"},
	} {
		if r.code == nil {
			continue
		}
		p, err := s.pair(r)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

func (s *stand) pair(r real) (*pair, error) {
	on, err := s.open(s.metered, r.module)
	if err != nil {
		return nil, err
	}
	off, err := s.open(s.plain, r.module)
	if err != nil {
		return nil, err
	}
	with, without := newClient(r.asks, on), newClient(r.asks, off)
	var seen []string
	for _, c := range []*client{with, without} {
		c.checked = func(x *exchange.Exchange) error {
			v := string(x.Request.Header.Get(r.field))
			if r.field != "" && v == "" {
				return errors.New(r.name + " does not set " + r.field)
			}
			seen = append(seen, v)
			return nil
		}
		if err := c.run(len(r.asks)); err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		c.checked = nil
	}
	for i := range r.asks {
		if seen[i] != seen[len(r.asks)+i] {
			return nil, fmt.Errorf("%s: %q with metering, %q without", r.name, seen[i], seen[len(r.asks)+i])
		}
	}
	return &pair{name: r.name, does: r.does,
		metered: &turn{name: r.name + " metered", run: with.run},
		plain:   &turn{name: r.name + " unmetered", run: without.run},
		bare:    &turn{name: r.name + " without", run: newClient(r.asks).run}}, nil
}

// browsing is what browsers send.
func browsing() []ask {
	common := [][2]string{
		{"accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"},
		{"accept-encoding", "gzip, deflate, br"}, {"accept-language", "en-GB,en;q=0.7,de;q=0.3"},
		{"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
		{"x-forwarded-for", "192.0.2.7"}, {"sec-fetch-mode", "navigate"},
	}
	with := func(more ...[2]string) [][2]string { return append(append([][2]string{}, common...), more...) }
	return []ask{
		{target: "/", fields: with([2]string{"cookie", "session=3f9a1c77e0b24d5e9d1f; theme=dark; _ga=GA1.1.1234567.1699999999"})},
		{target: "/search?q=a+red%20bicycle&page=2&utm_source=mail&sort=price", fields: with([2]string{"x-tag", "green"})},
		{target: "/item/4711?gclid=Cj0KCQ&colour=bl%C3%A4ulich", fields: with([2]string{"x-tag", "blue"},
			[2]string{"cookie", "session=3f9a1c77e0b24d5e9d1f; _fbp=fb.1.170; _ga_XYZ=GS1.1.17; cart=17%2C4%2C99; consent=1; lang=en"})},
		{target: "/static/app.8f31c.js", fields: common},
	}
}

func orders() []ask {
	var b strings.Builder
	b.WriteString(`{"id": 4711, "name": "Ada Lovelace", "items": [`)
	for i := 0; b.Len() < 4<<10-2; i++ {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, `{"sku": "A-%05d", "count": %d, "price": %d.95, "tags": ["small", "blue", "on sale"]}`, i*37, i%5+1, i*3)
	}
	b.WriteString("]}")
	asks := browsing()
	for i := 0; i < len(asks); i += 2 {
		asks[i].body = []byte(b.String())
		asks[i].fields = append(asks[i].fields, [2]string{"content-type", "application/json"})
	}
	return asks
}

func uploads() []ask {
	asks := browsing()
	for i, n := range []int{200, 1 << 10, 4 << 10, 16 << 10} {
		asks[i].body = []byte(strings.Repeat("0123456789abcdef", n/16))
	}
	return asks
}
