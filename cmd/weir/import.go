package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/importer"
)

type importCommand struct {
	Envoy   importEnvoy   `cmd:"" help:"WebAssembly filters of Envoy or Istio, with the routes, clusters and listeners around them."`
	Traefik importTraefik `cmd:"" name:"traefik-plugin" help:"A WebAssembly plugin of Traefik, with the routers and services that use it."`
}

// importFlags are what all imports have.
type importFlags struct {
	Files  []string `arg:"" name:"file" help:"Files to read, YAML or JSON, all of them one configuration together; - is standard input."`
	Output string   `short:"o" placeholder:"FILE" help:"Where to write the configuration; standard output if not given."`
	Strict bool     `help:"Exit with 1 if something was not translated."`
}

type importEnvoy struct{ importFlags }

// Help is shown below the flags.
func (*importEnvoy) Help() string {
	return `Reads bootstraps, answers of discovery services (LDS, CDS, RDS, ECDS), what /config_dump gives, single listeners, clusters, route configurations and HTTP filters, and of
Istio WasmPlugins and EnvoyFilters; several documents may stand in one file.

HTTP filters of WebAssembly become wasm:, in their order on each route; virtual hosts become routes, clusters upstreams, listeners with HTTP listeners, tags of statistics labels of the filters'
metrics. Other filters are not translated.

` + importReport
}

func (c *importEnvoy) Run(out io.Writer) error {
	return c.run(out, func(docs []config.Foreign, _ string) (*importer.Result, error) { return importer.Envoy(docs) })
}

type importTraefik struct{ importFlags }

// Help is shown below the flags.
func (*importTraefik) Help() string {
	return `Reads a plugin's manifest (.traefik.yml), the dynamic configuration that uses plugins (http.middlewares, routers, services; Middlewares of Kubernetes), and the static one that names
them (experimental.plugins, entryPoints).

A plugin of Go source, which Traefik interprets, is refused: there is no WebAssembly module in it.

` + importReport
}

func (c *importTraefik) Run(out io.Writer) error { return c.run(out, importer.Traefik) }

const importReport = `On standard error stands what became of each part, with its place: translated, not translated and why, or look, where somebody who knows both sides should. Whom a filter may call is
not told by its configuration: a comment says where to write it. Read all of it before you serve the result; weir check tells what is still missing.`

var errNotAll = errors.New("not everything was translated")

func (c *importFlags) run(out io.Writer, translate func([]config.Foreign, string) (*importer.Result, error)) error {
	var docs []config.Foreign
	var problems config.Problems
	for _, name := range c.Files {
		list, err := readForeign(name)
		if err != nil {
			problems.Add(err)
		}
		docs = append(docs, list...)
	}
	if err := problems.Err(); err != nil {
		return badConfig(err)
	}
	dir := "."
	if c.Output != "" {
		dir = filepath.Dir(c.Output)
	}
	result, err := translate(docs, dir)
	if err != nil {
		return badConfig(err)
	}
	if err := c.write(out, result.YAML); err != nil {
		return err
	}
	for _, n := range result.Report {
		fmt.Fprintln(os.Stderr, n)
	}
	if c.Strict && result.Lost() {
		return errNotAll
	}
	return nil
}

func readForeign(name string) ([]config.Foreign, error) {
	if name != "-" {
		return config.LoadForeign(name)
	}
	data, err := io.ReadAll(os.Stdin)
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	return config.ParseForeign("stdin", data)
}

// write puts the configuration where it is wanted. It may hold secrets: others can't read the file.
func (c *importFlags) write(out io.Writer, text []byte) error {
	if c.Output == "" {
		_, err := out.Write(text)
		return err
	}
	if err := os.WriteFile(c.Output, text, 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}
