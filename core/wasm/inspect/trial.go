package inspect

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wasm/httpabi"
	"github.com/weirproxy/weir/core/wasm/proxyabi"
)

// Trial is what became of a filter that was loaded as a node does it: configured, and given a request made up to try it.
type Trial struct {
	Good  bool   `json:"good"`
	Error string `json:"error,omitempty"`
}

// try loads a module as a node does. Without a configuration a failure says little: many filters refuse to be without.
func (r *Report) try(ctx context.Context, e *wasm.Engine, code []byte, k abi.Kind, o Options) error {
	log := zerolog.New(listener{r})
	if k == abi.HTTPWasm {
		f, err := httpabi.Open(ctx, e, code, httpabi.Options{
			Name: "filter", Config: o.Config, Memory: uint64(o.Memory), Start: o.Start, Instances: 1, Log: log,
		})
		if err != nil {
			return err
		}
		return f.Close()
	}
	vm, p, err := proxyabi.Open(ctx, e, code, proxyabi.Options{
		Name: "filter", Scope: "filter", Memory: uint64(o.Memory), Start: o.Start, Shards: 1, Log: log,
	}, proxyabi.PluginOptions{Name: "filter", Config: o.Config})
	if err != nil {
		return err
	}
	_ = p.Close()
	return vm.Close()
}

// listener takes what a filter logs, each line once: instances say the same.
type listener struct{ r *Report }

func (l listener) Write(line []byte) (int, error) {
	var said struct{ Message string }
	if json.Unmarshal(line, &said) == nil && !slices.Contains(l.r.Output, said.Message) {
		l.r.heard([]byte(said.Message))
	}
	return len(line), nil
}
