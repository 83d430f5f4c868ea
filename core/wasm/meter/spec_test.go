package meter_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm/meter"
)

// specCommand is a command of a test script of the WebAssembly specification, as wast2json writes it.
type specCommand struct {
	Type       string `json:"type"`
	Line       int    `json:"line"`
	Name       string `json:"name"`
	As         string `json:"as"`
	Filename   string `json:"filename"`
	ModuleType string `json:"module_type"`
	Action     struct {
		Type   string      `json:"type"`
		Field  string      `json:"field"`
		Module string      `json:"module"`
		Args   []specValue `json:"args"`
	} `json:"action"`
}

type specValue struct {
	Type  string          `json:"type"`
	Lane  string          `json:"lane_type"`
	Value json.RawMessage `json:"value"`
}

// words is the value as the engine takes it.
func (v *specValue) words() []uint64 {
	number := func(s string, bits int) uint64 {
		if n, err := strconv.ParseInt(s, 10, bits); err == nil {
			return uint64(n) & (math.MaxUint64 >> (64 - bits))
		}
		n, err := strconv.ParseUint(s, 10, bits)
		if err != nil {
			panic(err)
		}
		return n
	}
	if v.Type != "v128" {
		var s string
		if err := json.Unmarshal(v.Value, &s); err != nil || s == "null" {
			return []uint64{0}
		}
		switch v.Type {
		case "i32", "f32":
			return []uint64{number(s, 32)}
		case "externref":
			return []uint64{number(s, 64) + 1} // the engine's 0 is null
		}
		return []uint64{number(s, 64)}
	}
	var lanes []string
	if err := json.Unmarshal(v.Value, &lanes); err != nil {
		panic(err)
	}
	bits := 128 / len(lanes)
	w := make([]uint64, 2)
	for i, s := range lanes {
		w[i*bits/64] |= number(s, bits) << (i * bits % 64)
	}
	return w
}

// specSide is one of the two runtimes a script runs in: plain modules in the one, metered ones in the other.
type specSide struct {
	r     wazero.Runtime
	last  api.Module
	named map[string]api.Module
}

var errSpecDepth = errors.New("depth spent")

const specPages = 65536

// specOptions cap next to nothing: scripts ask for what no filter does.
var specOptions = meter.Options{MemoryPages: specPages, TableEntries: 1 << 24, Tables: 100, Locals: 50_000}

func newSpecSide(t *testing.T, ctx context.Context, helper []byte) *specSide {
	s := &specSide{r: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2)),
		named: map[string]api.Module{}}
	t.Cleanup(func() { s.r.Close(ctx) })
	_, err := s.r.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(
		func(_ context.Context, m api.Module, _ []uint64) {
			if int64(m.ExportedGlobal("weir:depth").Get()) < 0 {
				panic(errSpecDepth)
			}
			m.ExportedGlobal("weir:fuel").(api.MutableGlobal).Set(1000)
		}), nil, nil).Export(meter.ImportName).Instantiate(ctx)
	if err == nil {
		_, err = s.r.InstantiateWithConfig(ctx, helper, wazero.NewModuleConfig().WithName("spectest"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// compile says whether the engine accepts the module.
func (s *specSide) compile(ctx context.Context, b []byte) (wazero.CompiledModule, error) {
	return s.r.CompileModule(ctx, b)
}

// instantiate makes a module the last one, and runs start if that is a name. A module that fails is not the last one.
func (s *specSide) instantiate(ctx context.Context, c wazero.CompiledModule, as, start string) error {
	m, err := s.r.InstantiateModule(ctx, c, wazero.NewModuleConfig().WithName(as).WithStartFunctions())
	if err == nil && start != "" {
		_, err = m.ExportedFunction(start).Call(ctx)
	}
	if err == nil {
		s.last = m
	}
	return err
}

// act runs an action and gives its result as a text without addresses, or the first line of its error.
func (s *specSide) act(ctx context.Context, c *specCommand) (text string, failed bool) {
	m := s.last
	if c.Action.Module != "" {
		m = s.named[c.Action.Module]
	}
	if c.Action.Type == "get" {
		return fmt.Sprint(m.ExportedGlobal(c.Action.Field).Get()), false
	}
	var args []uint64
	for i := range c.Action.Args {
		args = append(args, c.Action.Args[i].words()...)
	}
	fn := m.ExportedFunction(c.Action.Field)
	depth, _ := m.ExportedGlobal("weir:depth").(api.MutableGlobal)
	var full uint64
	if depth != nil {
		full = depth.Get()
	}
	res, err := fn.Call(ctx, args...)
	if err != nil {
		if depth != nil {
			depth.Set(full) // a trap leaves it as it is, and the script goes on
		}
		text, _, _ = strings.Cut(err.Error(), "\n")
		return text, true
	}
	i := 0
	for _, t := range fn.Definition().ResultTypes() {
		switch t {
		case 0x7b: // a vector is two words
			i++
		case 0x70:
			res[i] = min(res[i], 1) // an address
		case api.ValueTypeI32, api.ValueTypeF32:
			res[i] = uint64(uint32(res[i]))
		}
		i++
	}
	return fmt.Sprintf("%x", res), false
}

// specRun runs one script.
type specRun struct {
	plain, metered *specSide
	dir            string
	skip           bool // the last module could not be run in both forms
	counts         map[string]int
}

func (r *specRun) module(t *testing.T, ctx context.Context, c *specCommand, as string) {
	b, err := os.ReadFile(filepath.Join(r.dir, c.Filename))
	if err != nil {
		t.Fatal(err)
	}
	r.skip = true
	compiled, plainErr := r.plain.compile(ctx, b)
	out, info, err := meter.Rewrite(b, specOptions)
	var rewritten wazero.CompiledModule
	if err == nil {
		rewritten, err = r.metered.compile(ctx, out)
	}
	switch {
	case err != nil && strings.Contains(err.Error(), "only functions may be imported"):
		// It runs as it stands on both sides, for what it does to others.
		r.counts["an import that is no function"]++
		if plainErr == nil && c.Type != "assert_invalid" {
			r.both(ctx, c, b, as)
		}
		return
	case plainErr == nil && err != nil && strings.HasSuffix(err.Error(), "typed function references is not supported"):
		// The engine takes the types without the feature, and refuses every instruction on them.
		r.counts["a type of typed function references"]++
		return
	}
	if (plainErr == nil) != (err == nil) {
		t.Errorf("%s: plain: %v, rewritten: %v", c.Filename, plainErr, err)
		return
	}
	if err != nil {
		r.counts["both refuse a "+c.Type]++
		return
	}
	r.counts["both accept a "+c.Type]++
	if c.Type == "assert_invalid" || c.Type == "assert_malformed" {
		return
	}
	plainErr = r.plain.instantiate(ctx, compiled, as, "")
	err = r.metered.instantiate(ctx, rewritten, as, info.Start)
	if (plainErr == nil) != (err == nil) {
		t.Errorf("%s: instantiated plain: %v, rewritten: %v", c.Filename, plainErr, err)
		return
	}
	if err != nil {
		r.counts["both fail to instantiate a "+c.Type]++
		return
	}
	r.skip = false
	if c.Name != "" {
		r.plain.named[c.Name], r.metered.named[c.Name] = r.plain.last, r.metered.last
	}
}

// both instantiates the plain module on both sides. Neither becomes the last one if either fails.
func (r *specRun) both(ctx context.Context, c *specCommand, b []byte, as string) {
	p, m := *r.plain, *r.metered
	for _, s := range []*specSide{r.plain, r.metered} {
		compiled, err := s.compile(ctx, b)
		if err == nil {
			err = s.instantiate(ctx, compiled, as, "")
		}
		if err != nil || c.Type != "module" {
			*r.plain, *r.metered = p, m
			continue
		}
		if c.Name != "" {
			s.named[c.Name] = s.last
		}
	}
}

func (r *specRun) action(t *testing.T, ctx context.Context, c *specCommand) {
	if r.skip || c.Action.Module != "" && r.metered.named[c.Action.Module] == nil {
		r.counts["skipped "+c.Type]++
		return
	}
	want, failed := r.plain.act(ctx, c)
	got, _ := r.metered.act(ctx, c)
	if failed != (c.Type == "assert_trap" || c.Type == "assert_exhaustion") {
		t.Errorf("line %d, %s: the plain module gives %s", c.Line, c.Type, want)
	}
	if c.Type == "assert_exhaustion" {
		if !strings.Contains(want, "stack overflow") || !strings.Contains(got, errSpecDepth.Error()) {
			t.Errorf("line %d: plain %s, metered %s", c.Line, want, got)
		}
	} else if got != want {
		t.Errorf("line %d, %s %s:\nplain   %s\nmetered %s", c.Line, c.Type, c.Action.Field, want, got)
	}
	r.counts[c.Type]++
}

func (r *specRun) run(t *testing.T, ctx context.Context, commands []specCommand) {
	for i := range commands {
		c := &commands[i]
		switch c.Type {
		case "module":
			as := ""
			if i+1 < len(commands) && commands[i+1].Type == "register" {
				as = commands[i+1].As
			}
			r.module(t, ctx, c, as)
		case "assert_invalid", "assert_malformed", "assert_unlinkable", "assert_uninstantiable":
			if c.ModuleType == "text" || !strings.HasSuffix(c.Filename, ".wasm") {
				continue
			}
			skip := r.skip
			r.module(t, ctx, c, "")
			r.skip = skip
		case "action", "assert_return", "assert_trap", "assert_exhaustion":
			r.action(t, ctx, c)
		}
		if t.Failed() {
			return
		}
	}
}

// specLeast are the counts that the scripts in wazero 1.12 give. A rewriter that refuses more than it did, or takes what
// it refused, shows here.
var specLeast = map[string]int{
	"script":                          253,
	"both accept a module":            2303,
	"both refuse a assert_invalid":    3540,
	"both refuse a assert_malformed":  1372,
	"both accept a assert_unlinkable": 72,
	"action":                          199,
	"assert_return":                   61560,
	"assert_trap":                     2855,
	"assert_exhaustion":               30,
}

// TestSpecification runs the test scripts of the WebAssembly specification, which come with wazero's module, through the
// rewriter: what the engine accepts of them it accepts rewritten, and every command has the same outcome.
func TestSpecification(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "internal", "integration_test", "spectest")
	helper, err := os.ReadFile(filepath.Join(root, "testdata", "spectest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob(filepath.Join(root, "*", "testdata", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	counts := map[string]int{"script": len(scripts)}
	for _, path := range scripts {
		rel, _ := filepath.Rel(root, path)
		t.Run(strings.TrimSuffix(filepath.ToSlash(rel), ".json"), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var script struct {
				Commands []specCommand `json:"commands"`
			}
			if err := json.Unmarshal(b, &script); err != nil {
				t.Fatal(err)
			}
			r := &specRun{plain: newSpecSide(t, ctx, helper), metered: newSpecSide(t, ctx, helper), dir: filepath.Dir(path), counts: counts}
			r.run(t, ctx, script.Commands)
		})
	}
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Logf("%6d %s", counts[name], name)
	}
	for name, least := range specLeast {
		if counts[name] < least {
			t.Errorf("%d × %s, fewer than %d", counts[name], name, least)
		}
	}
}
