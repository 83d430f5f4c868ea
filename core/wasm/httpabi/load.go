package httpabi

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wasm/meter"
)

// Open loads a module and makes a filter of it. Before it is accepted, an instance is made and given a request to work on,
// so that a guest that can't start is told here and not by the first client. The error is one line. The bytes are not kept;
// the caller closes the filter, and the engine after it.
func Open(ctx context.Context, e *wasm.Engine, code []byte, o Options) (*Filter, error) {
	o.setDefaults()
	out := abi.Scan(code)
	switch a, err := abi.Detect(out); {
	case errors.Is(err, abi.ErrForm):
		return nil, err
	case a.Kind == abi.ProxyWasm:
		return nil, errors.New("it is a Proxy-Wasm filter, not one of http-wasm")
	}
	if err := lacking(out); err != nil {
		return nil, err
	}
	f := &Filter{o: o, silent: out.Empty(exportResponse)}
	f.journal = abi.NewJournal(o.Log, o.Name)
	m, err := e.Load(ctx, code, wasm.ModuleOptions{
		Name: o.Name, Memory: o.Memory, Start: o.Start, Host: functions, Missing: missing, Env: o.Env, Args: []string{o.Name}, Log: f.journal.Output,
	})
	if err != nil {
		return nil, abi.Refusal(err, o.Start, o.Memory)
	}
	f.module = m
	if err := signatures(m); err != nil {
		_ = m.Close()
		return nil, err
	}
	f.stock, err = wasm.OpenStock(ctx, m, wasm.StockOptions{
		Max: o.Instances, Uses: instanceUses, Instance: wasm.InstanceOptions{Setup: f.setup, Ready: f.ready},
	})
	if err != nil {
		_ = m.Close()
		return nil, abi.Refusal(err, o.Start, o.Memory)
	}
	if err := f.canary(); err != nil {
		_ = f.Close()
		return nil, abi.Refusal(err, o.Start, o.Memory)
	}
	return f, nil
}

// missing stands in for an import that is not there in that form: it traps when it is called, which it may never be.
func missing(im meter.Func, _ *wasm.HostFunc) (wasm.HostFunc, bool) {
	err := fmt.Errorf("%s.%s is not there", im.Module, im.Name)
	return wasm.HostFunc{Fn: func(context.Context, api.Module, []uint64) { panic(err) }}, true
}

// lacking says which exports a guest lacks.
func lacking(o *abi.Outline) error {
	var names []string
	if o.Memory == nil || !o.Memory.Exported {
		names = append(names, "memory")
	}
	for _, e := range exported {
		if o.Export(e.name) == nil {
			names = append(names, e.name+e.signature)
		}
	}
	if len(names) > 0 {
		return errors.New("the module does not export " + strings.Join(names, ", ") + ": is it an http-wasm filter?")
	}
	return nil
}

var exported = []struct {
	name, signature string
	params, results []byte
}{
	{exportRequest, "() → (i64)", nil, []byte{i64}},
	{exportResponse, "(i32, i32) → ()", []byte{i32, i32}, nil},
}

func signatures(m *wasm.Module) error {
	for _, e := range exported {
		for _, f := range m.Info().Exports {
			if f.Name == e.name && (!slices.Equal(f.Params, e.params) || !slices.Equal(f.Results, e.results)) {
				return fmt.Errorf("the module exports %s with another type than %s", e.name, e.signature)
			}
		}
	}
	return nil
}

// canary gives an instance a request, with the budget of a start: what is called for the first time may be slow.
func (f *Filter) canary() error {
	g, err := f.acquire()
	if err != nil {
		return err
	}
	x := exchange.Acquire()
	defer exchange.Release(x)
	x.Request.Method, x.Request.Target, x.Request.Path = []byte("GET"), slash, slash
	x.Request.Host, x.Request.Version = []byte("localhost"), exchange.HTTP11
	x.Request.Body.Init(0, nil)
	x.Client.Peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 1)
	x.Client.IP = x.Client.Peer.Addr()
	x.NewRequestID()
	g.begin(x)
	f.failures.Grown(int64(g.in.Memory().Size()))
	next, err := g.callRequest(f.o.Start)
	if err == nil && next {
		g.setAside()
		x.Response.Status, x.Response.Local = 200, true
		err = g.callResponse(f.o.Start, false)
	}
	if err != nil {
		var trap *wasm.Trap
		if errors.As(err, &trap) {
			err = trap.Err
		}
		g.visit = visit{}
		f.stock.Discard(g.in)
		return fmt.Errorf("it failed on a request made up to try it: %w", err)
	}
	g.reset()
	f.stock.Put(g.in)
	return nil
}
