package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/unit"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wasm/inspect"
	"github.com/weirproxy/weir/core/wasm/source"
)

type filterCommand struct {
	Inspect inspectCommand `cmd:"" help:"Tell what a filter is, what it asks for, and what of that would not work here."`
	Pull    pullCommand    `cmd:"" help:"Pull filters from registries, for oci:// addresses in a configuration."`
}

type inspectCommand struct {
	Module string `arg:"" help:"A module, a folder that holds one, or the address of one that weir has kept."`

	Config   string  `short:"c" placeholder:"FILE" help:"Configuration of weir: the copy of an address is in its state_dir."`
	StateDir string  `placeholder:"DIR" help:"Where weir keeps its state, instead of -c."`
	Memory   string  `default:"32MiB" placeholder:"SIZE" help:"Most memory of an instance (${default})."`
	Start    string  `default:"2s" placeholder:"TIME" help:"Most CPU time of its start (${default})."`
	Settings *string `placeholder:"TEXT" help:"The filter's own configuration, JSON mostly, to try it with."`
	JSON     bool    `name:"json" help:"Print it all as JSON."`
}

// Help is what weir filter inspect --help says at length.
func (c *inspectCommand) Help() string {
	return `The module is read, compiled, started within the bounds given, configured with --settings, and given a request made up to
try it. It sees no file and no network. What it imports is what it may ask for; that it does so cannot be told from outside.
A filter that fails without settings still loads.

Exit status: 0 it loads, 1 it does not, 2 there is no such module, or the command line is wrong.`
}

func (c *inspectCommand) Run(out io.Writer) error {
	memory, err := unit.ParseSize(c.Memory)
	if err == nil && (memory < 64<<10 || memory > 4<<30) {
		err = errors.New("wants 64KiB to 4GiB")
	}
	if err != nil {
		return &usageError{fmt.Errorf("--memory: %w", err)}
	}
	start, err := unit.ParseDuration(c.Start)
	if err == nil && start <= 0 {
		err = errors.New("wants more than no time")
	}
	if err != nil {
		return &usageError{fmt.Errorf("--start: %w", err)}
	}
	code, err := c.read()
	if err != nil {
		return &usageError{err}
	}
	o := inspect.Options{Memory: memory, Start: start}
	if c.Settings != nil {
		o.Config = append([]byte{}, *c.Settings...)
	}
	r := inspect.Inspect(context.Background(), code, o)
	var problem error
	if !r.Loads {
		problem = fmt.Errorf("%s will not load", source.Redacted(c.Module))
	}
	if c.JSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return errors.Join(e.Encode(r), problem)
	}
	fmt.Fprintln(out, source.Redacted(c.Module))
	if err := r.Print(out); err != nil {
		return err
	}
	if r.Loads {
		fmt.Fprint(out, "\nTo use it:\n\n", c.snippet(r))
	}
	return problem
}

// isAddress reports whether a module is not named by its file.
func isAddress(s string) bool {
	for _, scheme := range []string{"oci://", "https://", "http://"} {
		if strings.HasPrefix(s, scheme) {
			return true
		}
	}
	return false
}

func (c *inspectCommand) read() ([]byte, error) {
	if !isAddress(c.Module) {
		code, _, err := source.Read(c.Module)
		return code, err
	}
	dir, _, err := stateDir(c.Config, c.StateDir)
	if err != nil {
		return nil, err
	}
	return source.New(source.Options{StateDir: dir}).Last(c.Module)
}

// snippet is what a configuration says of the filter.
func (c *inspectCommand) snippet(r *inspect.Report) string {
	key, where, pin := "file", c.Module, ", sha256: "+r.SHA256
	if isAddress(c.Module) {
		key, where = "url", source.Redacted(c.Module)
	}
	if strings.HasPrefix(where, "oci://") {
		pin = "" // the digest in the address is enough
	}
	more := ""
	if c.Memory != "32MiB" {
		more += ", memory: " + c.Memory
	}
	if c.Start != "2s" {
		more += ", start: " + c.Start
	}
	return fmt.Sprintf("wasm:\n  %s: {%s: %s%s%s}\n", nameOf(c.Module), key, yamlText(where), pin, more)
}

var notName = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// nameOf makes the name of a filter from that of its module.
func nameOf(module string) string {
	if abs, err := filepath.Abs(module); err == nil && !isAddress(module) {
		module = abs
	}
	module, _, _ = strings.Cut(module, "@sha256:")
	name := strings.TrimSuffix(path.Base(module), ".wasm")
	if isAddress(module) {
		name, _, _ = strings.Cut(name, ":")
	}
	if name == "plugin" || name == "main" || name == "filter" {
		if parent := path.Base(path.Dir(module)); parent != "/" && parent != "." {
			name = parent
		}
	}
	if name = strings.Trim(notName.ReplaceAllString(name, "-"), "-"); name == "" {
		return "filter"
	}
	return name
}

var plainYAML = regexp.MustCompile(`^[A-Za-z0-9./_][A-Za-z0-9./_@:+-]*$`)

// yamlText quotes a text where YAML within braces needs it.
func yamlText(s string) string {
	if plainYAML.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}

type pullCommand struct {
	Addresses []string `arg:"" optional:"" name:"address" help:"oci://registry/repository:tag or …@sha256:…"`

	Config        string `short:"c" placeholder:"FILE" help:"Configuration: its state_dir, and without addresses every oci:// in it."`
	StateDir      string `placeholder:"DIR" help:"Where weir keeps its state, instead of -c."`
	Username      string `placeholder:"NAME" help:"Who asks; else ~/.docker/config.json says so."`
	PasswordStdin bool   `help:"Read the password from the standard input."`
	PlainHTTP     bool   `name:"plain-http" help:"Ask without TLS, as for a registry on this machine."`
}

// Help is what weir filter pull --help says at length.
func (c *pullCommand) Help() string {
	return `A running weir never asks a registry: what a configuration names by oci://…@sha256:… is pulled here, proved by its digest
and kept in state_dir/wasm/modules. Without a digest the tag is looked up, and the address to configure is printed.
What is there already is not asked for again. Artifacts with one WebAssembly layer and container images with plugin.wasm at
their root are understood.

Exit status: 0 all are there, 1 some could not be had, 2 the command line or the configuration is wrong.`
}

func (c *pullCommand) Run(out io.Writer) error {
	dir, spec, err := stateDir(c.Config, c.StateDir)
	if err != nil {
		return err
	}
	addresses := c.Addresses
	if len(addresses) == 0 {
		if spec == nil {
			return &usageError{errors.New("what to pull? Give addresses, or a configuration with -c; see weir filter pull --help")}
		}
		for i := range spec.Wasm {
			if u := spec.Wasm[i].URL; strings.HasPrefix(u, "oci://") {
				addresses = append(addresses, u)
			}
		}
		if len(addresses) == 0 {
			fmt.Fprintf(out, "%s: no oci:// address in it\n", c.Config)
			return nil
		}
	}
	o := source.PullOptions{Username: c.Username, PlainHTTP: c.PlainHTTP}
	if (c.Username != "") != c.PasswordStdin {
		return &usageError{errors.New("--username and --password-stdin go together")}
	}
	if c.PasswordStdin {
		line, err := bufio.NewReader(io.LimitReader(os.Stdin, 64<<10)).ReadString('\n')
		if o.Password = strings.TrimRight(line, "\r\n"); o.Password == "" {
			return &usageError{fmt.Errorf("there is no password on the standard input: %w", err)}
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	store := source.New(source.Options{StateDir: dir})
	var problems []error
	for _, a := range addresses {
		p, err := store.Pull(ctx, a, o)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		printPulled(out, a, &p)
	}
	return errors.Join(problems...)
}

func printPulled(out io.Writer, asked string, p *source.Pulled) {
	verb, from := "pulled", ": "+p.Format
	if p.Here {
		verb, from = "here already", ""
	}
	fmt.Fprintf(out, "%s %s%s\n", verb, asked, from)
	built, err := abi.Detect(abi.Scan(p.Code))
	what := built.String()
	if err != nil {
		what = "no filter: " + err.Error()
	}
	fmt.Fprintf(out, "  module  %s, %d bytes, sha256 %s\n", what, len(p.Code), p.SHA256)
	fmt.Fprintf(out, "  file    %s\n", p.File)
	if p.Address != asked {
		fmt.Fprintf(out, "  to configure: {url: %q}\n", p.Address)
	}
}

// stateDir finds out where modules are kept, by name or by a configuration, which may be without the ones it names.
func stateDir(file, dir string) (string, *config.Spec, error) {
	switch {
	case file == "" && dir == "":
		return "", nil, &usageError{errors.New("where does weir keep its state? Give --state-dir or a configuration with -c")}
	case file == "":
		return dir, nil, nil
	}
	spec, err := config.Load(file, os.LookupEnv)
	if err != nil {
		return "", nil, badConfig(err)
	}
	if dir == "" {
		dir = spec.StateDir
	}
	if dir == "" {
		return "", nil, &usageError{fmt.Errorf(`%s has no key "state_dir", under which modules would be kept`, file)}
	}
	return dir, spec, nil
}
