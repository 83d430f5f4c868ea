package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wasm/httpabi"
	"github.com/weirproxy/weir/core/wasm/proxyabi"
)

// stand holds what is measured. Two engines: one meters.
type stand struct {
	metered, plain *wasm.Engine
	closers        []func() error
}

func openStand() (*stand, error) {
	s := &stand{}
	var err error
	if s.metered, err = wasm.OpenEngine(wasm.Options{}); err != nil {
		return nil, err
	}
	s.plain, err = wasm.OpenEngine(wasm.Options{Rate: s.metered.Rate(), Unmetered: true})
	return s, err
}

func (s *stand) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		_ = s.closers[i]()
	}
}

// unhurried is the budget of a call: a machine with more to do than it can must not end the run.
const unhurried = 100 * time.Millisecond

// open makes a filter of a module of either ABI, with the bounds that filters have unless they are told others, but for CPU.
func (s *stand) open(e *wasm.Engine, m module) (filter.Filter, error) {
	ctx := context.Background()
	built, err := abi.Detect(abi.Scan(m.code))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	if built.Kind != abi.ProxyWasm {
		f, err := httpabi.Open(ctx, e, m.code, httpabi.Options{Name: m.name, CPU: unhurried, CPUTotal: 10 * unhurried, Log: zerolog.Nop()})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		s.closers = append(s.closers, f.Close)
		return f, nil
	}
	vm, p, err := proxyabi.Open(ctx, e, m.code, proxyabi.Options{Name: m.name, CPU: unhurried, CPUTotal: 10 * unhurried, Log: zerolog.Nop()},
		proxyabi.PluginOptions{Name: m.name, RootID: m.root})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	s.closers = append(s.closers, vm.Close, p.Close)
	return p.At(proxyabi.Site{})
}

// ask is a request as it comes.
type ask struct {
	target string
	fields [][2]string
	body   []byte
}

// client makes exchanges, one after another, each past a chain of filters, and nothing anew for any of them. x.Slots has a
// place for each filter.
type client struct {
	chain   []filter.Filter
	asks    []prepared
	turn    int
	body    source
	buf     [16 << 10]byte
	checked func(x *exchange.Exchange) error // looks at an exchange that is over; nil: not
}

type prepared struct {
	target []byte
	path   int // bytes of it
	names  []string
	values [][]byte
	body   []byte
}

func newClient(asks []ask, chain ...filter.Filter) *client {
	c := &client{chain: chain}
	for _, a := range asks {
		p := prepared{target: []byte(a.target), path: len(a.target), body: a.body}
		for i := range a.target {
			if a.target[i] == '?' {
				p.path = i
				break
			}
		}
		for _, f := range a.fields {
			p.names, p.values = append(p.names, f[0]), append(p.values, []byte(f[1]))
		}
		c.asks = append(c.asks, p)
	}
	return c
}

var (
	methodGet, methodPost = []byte("GET"), []byte("POST")
	host, requestID       = []byte("example.com"), []byte("0123456789abcdef")
	contentType           = []byte("text/plain")
	peer                  = netip.MustParseAddrPort("192.0.2.7:4711")
	errStopped            = errors.New("a filter did not let a request pass")
)

func (c *client) run(n int) error {
	for range n {
		if err := c.exchange(); err != nil {
			return err
		}
	}
	return nil
}

// exchange makes a whole one: its own making, all filters on both ways, the bodies' way past them, and its end.
func (c *client) exchange() error {
	a := &c.asks[c.turn%len(c.asks)]
	c.turn++
	x := exchange.Acquire()
	defer exchange.Release(x)
	r := &x.Request
	r.Method, r.Target, r.Path, r.Host, r.Version = methodGet, a.target, a.target[:a.path], host, exchange.HTTP11
	if a.path < len(a.target) {
		r.Query = a.target[a.path+1:]
	}
	x.RequestID, x.Client.Peer, x.Client.IP = requestID, peer, peer.Addr()
	for i, n := range a.names {
		r.Header.AddString(n, a.values[i])
	}
	if r.Body.Init(0, nil); len(a.body) > 0 {
		r.Method, c.body.left = methodPost, a.body
		r.Body.Init(int64(len(a.body)), &c.body)
	}
	for i, f := range c.chain {
		if v, err := f.Request(x, i); v != filter.Continue || err != nil {
			return errors.Join(errStopped, err)
		}
	}
	if len(a.body) > 0 { // the upstream's part
		if err := drain(&r.Body, c.buf[:]); err != nil {
			return err
		}
	}
	x.Response.Status = 200
	x.Response.Header.AddString("content-type", contentType)
	x.Response.Body.Init(0, nil)
	for i := len(c.chain) - 1; i >= 0; i-- {
		if v, err := c.chain[i].Response(x, i, false); v != filter.Continue || err != nil {
			return errors.Join(errStopped, err)
		}
	}
	if c.checked != nil {
		return c.checked(x)
	}
	return nil
}

func drain(b *exchange.Body, buf []byte) error {
	for {
		switch _, err := b.Next(buf); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// source is a body that has come whole.
type source struct{ left []byte }

func (s *source) Read(p []byte) (int, error) {
	if len(s.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}

func (s *source) Whole() bool { return len(s.left) == 0 }
