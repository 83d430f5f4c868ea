// Command weir is the edge proxy. Each verb has a file; what they do is in core.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/alecthomas/kong"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/observe"
)

type commands struct {
	Run     runCommand     `cmd:"" help:"Serve a configuration, or the built-in demo without -c."`
	Check   checkCommand   `cmd:"" help:"Build everything a configuration asks for, tell what is wrong with it, and serve nothing."`
	Health  healthCommand  `cmd:"" help:"Ask a running node for its health; exits by the answer. For containers."`
	Filter  filterCommand  `cmd:"" help:"Look into a WebAssembly filter, or pull it from a registry."`
	Import  importCommand  `cmd:"" help:"Turn the configuration of another proxy into one of weir's."`
	Version versionCommand `cmd:"" help:"Print the version."`

	ShowVersion kong.VersionFlag `name:"version" help:"Print the version."`
}

const summary = `An edge proxy in one binary: TLS, JWT, limits, circuit breakers, and WebAssembly filters of your own.

Signals of a running node: SIGHUP reloads the configuration, SIGUSR1 reopens log files, SIGUSR2 hands over to a
new process of the same command (a newer binary at the same path), SIGTERM drains and stops, a second SIGTERM stops at once.`

// Exit codes: 1 is a failure at run time, 2 is a bad command line or configuration.
func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	var c commands
	exit := -1
	parser, err := kong.New(&c, kong.Name("weir"), kong.Description(summary), kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exit = code }), kong.UsageOnError(), kong.BindTo(stdout, (*io.Writer)(nil)),
		kong.Vars{"version": versionLine()})
	if err != nil {
		fmt.Fprintln(stderr, "weir:", err)
		return 1
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if exit >= 0 {
		return exit
	}
	if err != nil {
		fmt.Fprintf(stderr, "weir: %s; see weir --help\n", err)
		return 2
	}
	if err := ctx.Run(); err != nil {
		return report(stderr, err)
	}
	return 0
}

// report prints what went wrong, a line a problem.
func report(stderr io.Writer, err error) int {
	var problems *config.Problems
	var problem *config.Problem
	if errors.As(err, &problems) || errors.As(err, &problem) {
		fmt.Fprintln(stderr, err)
		return 2
	}
	var bad *usageError
	if errors.As(err, &bad) {
		fmt.Fprintln(stderr, "weir:", err)
		return 2
	}
	fmt.Fprintln(stderr, "weir:", err)
	return 1
}

// usageError is a problem of the command line.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// version is set by the linker.
var version = "dev"

func buildInfo() observe.Build {
	b := observe.Build{Version: version, Revision: "unknown"}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Revision = s.Value
			}
		}
	}
	return b
}
