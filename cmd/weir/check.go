package main

import (
	"fmt"
	"io"
	"os"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/node"
)

type checkCommand struct {
	Config string `short:"c" required:"" placeholder:"FILE" help:"Configuration file."`
}

func (c *checkCommand) Run(out io.Writer) error {
	spec, err := config.Load(c.Config, os.LookupEnv)
	if err != nil {
		return badConfig(err)
	}
	for i := range spec.Warnings {
		fmt.Fprintln(os.Stderr, "warning:", spec.Warnings[i].Error())
	}
	kinds, err := openKinds(spec, nil)
	if err != nil {
		return err
	}
	defer kinds.Close()
	if err := node.Check(spec, kinds.Standard()); err != nil {
		return badConfig(err)
	}
	fmt.Fprintf(out, "%s: ok: %d listeners, %d routes, %d upstreams, %d filters\n",
		c.Config, len(spec.Listeners), len(spec.Routes), len(spec.Upstreams), len(spec.Wasm))
	return nil
}
