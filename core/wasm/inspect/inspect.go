// Package inspect tells what a filter is before it is used: what it is built for and with, where it takes part, what it asks for,
// and what of that weir does not have.
package inspect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wasm/httpabi"
	"github.com/weirproxy/weir/core/wasm/meter"
	"github.com/weirproxy/weir/core/wasm/proxyabi"
)

// Options are the bounds of the one instance that is made. A zero field takes its default.
type Options struct {
	Memory int64         // bytes; default 32 MiB
	Start  time.Duration // CPU time; default 2 s
	Config []byte        // of the filter; nil: it is tried without
}

// Report is what is told of a module. Names in it are the module's own words.
type Report struct {
	SHA256     string `json:"sha256"`
	Size       int    `json:"size_bytes"`
	ABI        string `json:"abi,omitempty"` // "http-wasm" or "proxy-wasm"
	Version    string `json:"abi_version,omitempty"`
	Unmarked   bool   `json:"abi_unmarked,omitempty"` // the version is a guess
	ModuleName string `json:"module_name,omitempty"`
	Made       Made   `json:"made_with"`

	Functions int     `json:"functions"`
	Code      int     `json:"code_bytes"`
	Data      int     `json:"data_bytes"`
	Memory    *Memory `json:"memory,omitempty"`

	Parts    []Part    `json:"takes_part_in"`
	Imports  []Import  `json:"imports"`
	Asks     []Asks    `json:"asks_for"`
	Unserved []Problem `json:"will_not_work"`
	Customs  []string  `json:"custom_sections,omitempty"`

	Cost   *Cost    `json:"start,omitempty"`  // nil: it was not started
	Trial  *Trial   `json:"trial,omitempty"`  // nil: there was none
	Output []string `json:"output,omitempty"` // what it logged meanwhile, the first lines
	Loads  bool     `json:"loads"`
	Error  string   `json:"error,omitempty"` // why it does not
	Hint   string   `json:"hint,omitempty"`  // what may help
}

// Memory is what a module says of its memory.
type Memory struct {
	Initial int64 `json:"initial_bytes"`
	Max     int64 `json:"max_bytes,omitempty"` // 0: it sets no maximum
}

// Part is an export that takes part in requests.
type Part struct {
	Name   string `json:"name"`
	Export string `json:"export"`
	Empty  bool   `json:"empty,omitempty"` // it does nothing at all
}

// Import is a function that the module imports.
type Import struct {
	Module string `json:"module"`
	Name   string `json:"name"`
	Met    string `json:"met"`           // covered, adapted or stubbed; as far as known, where the module does not load
	Wants  string `json:"wants"`         // its signature, as the module has it
	Has    string `json:"has,omitempty"` // as weir has it, where that is another
}

// Asks is something beyond the message at hand, and the imports that ask for it.
type Asks struct {
	For     string   `json:"for"`
	Imports []string `json:"imports"`
	Note    string   `json:"note"`
}

// Problem is something that weir does not have.
type Problem struct {
	What string   `json:"what"`
	Why  string   `json:"why"`
	By   []string `json:"by"` // exports or imports
}

// Cost is what making one instance took.
type Cost struct {
	Compile time.Duration `json:"compile_ns"` // by the clock, of one core
	CPU     time.Duration `json:"cpu_ns"`     // of the module's start functions
	Memory  int64         `json:"memory_bytes"`
}

// Inspect reads a module, compiles it and makes an instance of it, which runs its start functions within the bounds of the
// options; then it is loaded as a node does, configured and given a request made up to try it. It always gives a report;
// Report.Error says why a module would not load. A trial that fails is such a reason only if there was a configuration.
func Inspect(ctx context.Context, code []byte, o Options) *Report {
	if o.Memory == 0 {
		o.Memory = 32 << 20
	}
	if o.Start == 0 {
		o.Start = 2 * time.Second
	}
	sum := sha256.Sum256(code)
	r := &Report{
		SHA256: hex.EncodeToString(sum[:]), Size: len(code),
		Parts: []Part{}, Imports: []Import{}, Asks: []Asks{}, Unserved: []Problem{}, // as JSON none is [], not null
	}
	out := abi.Scan(code)
	built, err := abi.Detect(out)
	if errors.Is(err, abi.ErrForm) {
		r.Error = err.Error()
		return r
	}
	r.outline(out, built)
	r.Made = made(out, code)
	if err == nil {
		err = check(out, built.Kind)
	}
	if err != nil {
		r.Error = err.Error()
		return r
	}
	if err = r.start(ctx, code, built, o); err != nil {
		r.Error, _, _ = strings.Cut(err.Error(), "\n") // the guest's stack follows
		return r
	}
	r.Loads = true
	return r
}

// check says what a guest lacks of what its ABI demands.
func check(o *abi.Outline, k abi.Kind) error {
	if k == abi.HTTPWasm {
		return httpabi.Check(o)
	}
	return proxyabi.Check(o)
}

// outline tells what can be told without running anything.
func (r *Report) outline(o *abi.Outline, a abi.ABI) {
	switch a.Kind {
	case abi.ProxyWasm:
		r.ABI, r.Version, r.Unmarked = "proxy-wasm", a.Version.String(), !a.Marked
	case abi.HTTPWasm:
		r.ABI = "http-wasm"
	}
	r.ModuleName, r.Functions, r.Code, r.Data, r.Customs = o.Name, o.Functions, o.Code, o.Data, o.Customs
	if m := o.Memory; m != nil {
		r.Memory = &Memory{Initial: int64(min(m.Min, 1<<16)) * meter.PageSize}
		if m.Bounded {
			r.Memory.Max = int64(min(m.Max, 1<<16)) * meter.PageSize
		}
	}
	r.imports(o, a.Kind)
	if a.Kind != 0 {
		r.parts(o, a.Kind)
	}
	r.asks(o)
}

func (r *Report) parts(o *abi.Outline, k abi.Kind) {
	for _, p := range abi.Parts(k) {
		f := o.Export(p.Export)
		switch {
		case f == nil:
		case p.Unserved == "":
			r.Parts = append(r.Parts, Part{p.Name, p.Export, o.Empty(p.Export)})
		case !o.Empty(p.Export):
			r.cannot(p.Name, p.Unserved, p.Export)
		}
	}
}

// importOf begins what a Problem is about when it is an import.
const importOf = "import "

// cannot notes what does not work, one line a reason.
func (r *Report) cannot(what, why, by string) {
	for i := range r.Unserved {
		if u := &r.Unserved[i]; u.Why == why && u.What == what {
			u.By = append(u.By, by)
			return
		}
	}
	r.Unserved = append(r.Unserved, Problem{what, why, []string{by}})
}

// offered is what guests of an ABI may import, besides WASI.
func offered(k abi.Kind) []wasm.HostFunc {
	if k == abi.HTTPWasm {
		return httpabi.Offered()
	}
	return proxyabi.Offered()
}

// imports lists what the module imports; start, which asks the engine's linker, says the last word on how it is met.
func (r *Report) imports(o *abi.Outline, k abi.Kind) {
	hosts := offered(k)
	for i := range o.Imports {
		f := &o.Imports[i]
		im := Import{Module: f.Module, Name: f.Name, Wants: signature(f.Params, f.Results), Met: wasm.Stubbed.String()}
		if abi.IsWASI(f.Module) && f.Asks() != "" {
			im.Met = wasm.Covered.String()
		}
		for j := range hosts {
			h := &hosts[j]
			if h.Module != f.Module || h.Name != f.Name {
				continue
			}
			im.Met = wasm.Covered.String()
			if !slices.Equal(h.Params, f.Params) || !slices.Equal(h.Results, f.Results) {
				im.Met, im.Has = wasm.Adapted.String(), signature(h.Params, h.Results)
			}
		}
		r.Imports = append(r.Imports, im)
	}
}

func (r *Report) asks(o *abi.Outline) {
	by := map[abi.Capability][]string{}
	for i := range o.Imports {
		f := &o.Imports[i]
		if c := f.Asks(); c != "" && !slices.Contains(by[c], f.Name) {
			by[c] = append(by[c], f.Name)
		}
	}
	for _, c := range abi.Capabilities {
		if names := by[c]; names != nil {
			r.Asks = append(r.Asks, Asks{string(c), names, notes[c]})
		}
	}
}

// notes say what becomes of what is asked for.
var notes = map[abi.Capability]string{
	abi.Calls:       "to the upstreams that its key calls lists, and nowhere else",
	abi.GRPC:        "to the upstreams that its key calls lists, and nowhere else",
	abi.Redis:       "there is none for filters: calls fail",
	abi.DNS:         "names are not resolved for filters: calls fail",
	abi.Sockets:     "there are none: calls fail",
	abi.Files:       "there are none: calls fail",
	abi.Foreign:     "those that weir has; others are not found",
	abi.SharedData:  "shared with filters of its vm_id in this process",
	abi.Queues:      "shared with filters of any vm_id in this process",
	abi.Metrics:     "shown with weir's own",
	abi.Timers:      "its ticks spend its own CPU budget",
	abi.Routing:     "a new route's auth and limits run before it is taken",
	abi.Environment: "it sees what its key env lists, and nothing of the host's",
	abi.Arguments:   "its own name",
	abi.Random:      "of the system's generator",
	abi.Clocks:      "the system's; nothing waits",
	abi.Output:      "lines go to weir's log",
}

// start compiles the module and makes an instance. The functions it finds there answer as little as may be: there is no request.
func (r *Report) start(ctx context.Context, code []byte, a abi.ABI, o Options) error {
	// What is compiled to see what that costs need not be compiled once more for the trial.
	cache, err := os.MkdirTemp("", "weir-inspect-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(cache)
	e, err := wasm.OpenEngine(wasm.Options{CacheDir: cache})
	if err != nil {
		return err
	}
	defer e.Close()
	hosts := offered(a.Kind)
	for i := range hosts {
		hosts[i].Fn = r.idle(hosts[i].Name, len(hosts[i].Results), o.Config)
	}
	mo := wasm.ModuleOptions{
		Name: "filter", Memory: uint64(o.Memory), Start: o.Start, Host: hosts, Args: []string{"filter"},
		Log: func(_ int, line []byte) { r.heard(line) },
		Missing: func(im meter.Func, _ *wasm.HostFunc) (wasm.HostFunc, bool) {
			return wasm.HostFunc{Fn: r.idle(im.Name, len(im.Results), nil)}, true
		},
	}
	began := time.Now()
	m, err := e.Load(ctx, code, mo)
	took := time.Since(began)
	if err != nil {
		return trim(err)
	}
	defer m.Close()
	r.met(m)
	in, err := m.Instantiate(ctx, wasm.InstanceOptions{})
	if err != nil {
		if o.Config == nil && r.reads() {
			r.Hint = withoutConfig
		}
		return fmt.Errorf("it does not start: %w", trim(err))
	}
	r.Cost = &Cost{Compile: took, CPU: in.CPU(), Memory: int64(in.Memory().Size())}
	in.Close()
	r.Trial = &Trial{Good: true}
	if err := r.try(ctx, e, code, a.Kind, o); err != nil {
		text, _, _ := strings.Cut(trim(err).Error(), "\n")
		r.Trial = &Trial{Error: text}
		if o.Config != nil {
			return errors.New(text)
		}
		r.Hint = withoutConfig
	}
	return nil
}

const withoutConfig = "It was tried without a configuration: --settings gives one."

// trim takes away what is said of every module.
func trim(err error) error {
	text := err.Error()
	for _, prefix := range []string{"load module filter: ", "instantiate filter: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return errors.New(strings.Replace(text, "run weir:start: ", "run its start section: ", 1))
}

// reads reports whether a module may read its configuration when it starts: one of http-wasm may.
func (r *Report) reads() bool {
	return slices.ContainsFunc(r.Imports, func(im Import) bool { return im.Name == "get_config" })
}

// heard takes a line of the guest's log.
func (r *Report) heard(line []byte) {
	if len(r.Output) < maxOutput && len(line) > 0 {
		r.Output = append(r.Output, strings.ToValidUTF8(string(line[:min(len(line), 300)]), "?"))
	}
}

const maxOutput = 10

// met takes over from the linker how imports are met.
func (r *Report) met(m *wasm.Module) {
	links := m.Links()
	for i := range r.Imports {
		im := &r.Imports[i]
		for _, l := range links {
			if l.Module == im.Module && l.Name == im.Name {
				im.Met = l.How.String()
			}
		}
		switch {
		case im.Met == wasm.Stubbed.String():
			r.cannot(importOf+im.Module+"."+im.Name, "weir knows no such function: calls of it fail", im.Name)
		case im.Met == wasm.Adapted.String() && !im.voids():
			r.cannot(importOf+im.Module+"."+im.Name, "it is declared as "+im.Wants+" and is "+im.Has+": calls of it fail", im.Name)
		}
	}
}

// voids reports whether an import differs from what it is by having no result only: such calls work.
func (im *Import) voids() bool {
	wants, _ := strings.CutSuffix(im.Wants, "()")
	return strings.HasPrefix(im.Has, wants)
}

// idle answers for a host function where there is neither request nor host. Features that are asked for are all there; the
// configuration is what the options say.
func (r *Report) idle(name string, results int, config []byte) api.GoModuleFunc {
	return func(ctx context.Context, _ api.Module, s []uint64) {
		mem := wasm.FromContext(ctx).Memory()
		answer := uint64(0)
		switch {
		case name == "enable_features":
			answer = s[0]
		case name == "get_config":
			if answer = uint64(len(config)); answer <= uint64(uint32(s[1])) {
				mem.Write(uint32(s[0]), config)
			}
		case name == "log" || name == "proxy_log":
			if line, ok := mem.Read(uint32(s[1]), uint32(s[2])); ok {
				r.heard(line)
			}
		case strings.HasPrefix(name, "proxy_"):
			answer = 10 // internal failure, which SDKs bear
		}
		if results > 0 {
			s[0] = answer
		}
	}
}

func signature(params, results []byte) string {
	return "(" + types(params) + ")→(" + types(results) + ")"
}

// maxTypes is the most value types of a list that are named: one signature of a megabyte may be that of every import.
const maxTypes = 32

// types names value types: more than three of one kind in a row by their number.
func types(list []byte) string {
	var names []string
	more := ""
	if n := len(list); n > maxTypes {
		list, more = list[:maxTypes], fmt.Sprintf(",… %d in all", n)
	}
	for i := 0; i < len(list); {
		n := 1
		for i+n < len(list) && list[i+n] == list[i] {
			n++
		}
		name := api.ValueTypeName(list[i])
		if list[i] == 0x7b {
			name = "v128"
		}
		i += n
		if n > 3 {
			name, n = fmt.Sprintf("%s×%d", name, n), 1
		}
		for range n {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",") + more
}
