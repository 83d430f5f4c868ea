package proxyabi

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
)

// canary starts an instance that nobody will use, configures plugins in it, and gives the last of them a request and its answer
// to work on, so that a guest that can't is told here and not by the first client.
func (vm *VM) canary(plugins []*Plugin) error {
	sh, err := vm.newShard(plugins, true)
	if err != nil {
		return err
	}
	x := exchange.Acquire()
	x.Request.Method, x.Request.Target, x.Request.Path = []byte("GET"), []byte("/"), []byte("/")
	x.Request.Host, x.Request.Version = []byte("localhost"), exchange.HTTP11
	x.Request.Body.Init(0, nil)
	x.Client.Peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 1)
	x.Client.IP = x.Client.Peer.Addr()
	x.NewRequestID()
	f := &Filter{p: plugins[len(plugins)-1]}
	sh.mu.Lock()
	v, err := f.request(sh, x, 0, false)
	if err == nil && v == filter.Continue {
		x.Response.Status = 200
		x.Response.Body.Init(0, nil)
		_, err = f.Response(x, 0, false)
	}
	exchange.Release(x)
	if err == nil {
		err = sh.dead
	}
	sh.end()
	if err == nil {
		return nil
	}
	var trap *wasm.Trap
	if errors.As(err, &trap) {
		err = trap.Err
	}
	return sh.because(fmt.Errorf("it failed on a request made up to try it: %w", err))
}
