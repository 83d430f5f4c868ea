package meter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm/meter"
)

var errEnough = errors.New("enough")

// machine is a module instantiated with stub imports: each notes its arguments and answers what follows from them.
type machine struct {
	r     wazero.Runtime
	mod   api.Module
	notes bytes.Buffer
	fuel  api.MutableGlobal
	left  int64
}

func (m *machine) close() { m.r.Close(context.Background()) }

// newMachine instantiates b, plain when info is nil and metered with fuel else.
func newMachine(b []byte, imports []meter.Func, info *meter.Info, fuel int64) (*machine, error) {
	ctx := context.Background()
	m := &machine{r: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithMemoryLimitPages(1024))}
	mods := map[string]wazero.HostModuleBuilder{}
	builder := func(name string) wazero.HostModuleBuilder {
		if mods[name] == nil {
			mods[name] = m.r.NewHostModuleBuilder(name)
		}
		return mods[name]
	}
	as := func(im *meter.Func) string {
		if info == nil {
			return im.Name
		}
		return im.As
	}
	for _, im := range imports {
		builder(im.Module).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(
			func(_ context.Context, _ api.Module, s []uint64) {
				args := append([]uint64{}, s[:len(im.Params)]...)
				for i, p := range im.Params {
					if p == api.ValueTypeI32 {
						args[i] = uint64(uint32(args[i])) // the upper half holds anything
					}
				}
				fmt.Fprintln(&m.notes, im.Name, args)
				for i := range im.Results {
					s[i] = 0
				}
			}), im.Params, im.Results).Export(as(&im))
	}
	if info != nil {
		builder(meter.ImportModule).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(
			func(context.Context, api.Module, []uint64) {
				if m.left <= 0 {
					panic(errEnough)
				}
				m.left -= 1000
				m.fuel.Set(m.fuel.Get() + 1000)
			}), nil, nil).Export(meter.ImportName)
	}
	for _, h := range mods {
		if _, err := h.Instantiate(ctx); err != nil {
			m.close()
			return nil, err
		}
	}
	c, err := m.r.CompileModule(ctx, b)
	if err != nil {
		m.close()
		return nil, err
	}
	m.mod, err = m.r.InstantiateModule(ctx, c, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		m.close()
		return nil, err
	}
	if info != nil {
		m.fuel = m.mod.ExportedGlobal(info.Fuel).(api.MutableGlobal)
		m.left = fuel
		if info.Start != "" {
			if _, err := m.mod.ExportedFunction(info.Start).Call(ctx); err != nil {
				m.close()
				return nil, err
			}
		}
	}
	return m, nil
}

// call gives a text that must be the same for the plain and the metered module.
func (m *machine) call(name string, args []uint64) (string, error) {
	res, err := m.mod.ExportedFunction(name).Call(context.Background(), args...)
	text := fmt.Sprint(res)
	if err != nil {
		text, _, _ = strings.Cut(err.Error(), "\n")
	}
	if mem := m.mod.Memory(); mem != nil && !reflect.ValueOf(mem).IsNil() {
		b, _ := mem.Read(0, mem.Size())
		var sum uint64
		for i, v := range b {
			if v != 0 {
				sum = sum*1099511628211 + uint64(v) + uint64(i)<<8
			}
		}
		text += fmt.Sprintf(" memory %d/%x", len(b), sum)
	}
	text += " " + m.notes.String()
	m.notes.Reset()
	return text, err
}

// compare runs each export of both forms of a module with the same arguments. It returns the fuel burned.
func compare(t testing.TB, name string, b []byte, fuel int64) int64 {
	t.Helper()
	return compareWith(t, name, b, fuel, meter.Options{})
}

func compareWith(t testing.TB, name string, b []byte, fuel int64, o meter.Options) int64 {
	t.Helper()
	out, info, err := meter.Rewrite(b, o)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	metered, err := newMachine(out, info.Imports, &info, fuel)
	if err != nil {
		if errors.Is(err, errEnough) {
			return fuel
		}
		plain, perr := newMachine(b, info.Imports, nil, 0)
		if perr == nil {
			plain.close()
			t.Fatalf("%s: only the metered module fails: %v", name, err)
		}
		return 0
	}
	defer metered.close()
	plain, err := newMachine(b, info.Imports, nil, 0)
	if err != nil {
		t.Fatalf("%s: only the plain module fails: %v", name, err)
	}
	defer plain.close()
	depth := metered.mod.ExportedGlobal(info.Depth)
	full := depth.Get()
	for _, e := range info.Exports {
		for _, a := range []uint64{0, 3, 1 << 20} {
			args := make([]uint64, len(e.Params))
			for i := range args {
				args[i] = a + uint64(i)
			}
			if bytes.ContainsAny(e.Params, "\x70\x6f\x7b") {
				continue
			}
			got, err := metered.call(e.Name, args)
			if errors.Is(err, errEnough) {
				return fuel
			}
			want, _ := plain.call(e.Name, args)
			if got != want {
				t.Fatalf("%s: %s%v\nmetered %s\nplain   %s", name, e.Name, args, got, want)
			}
			if err != nil {
				// A trap leaves the depth lowered and the memory half written.
				return fuel - metered.left
			}
			if depth.Get() != full {
				t.Fatalf("%s: %s%v left the depth at %d of %d", name, e.Name, args, depth.Get(), full)
			}
		}
	}
	return fuel - metered.left
}

// TestUnmetered: without metering modules behave as before, too, and nothing is charged.
func TestUnmetered(t *testing.T) {
	mods := map[string][]byte{"bulk": bulk()}
	for seed := range uint64(50) {
		b := randomModule(seed)
		if compare(t, "metered", b, 300_000) < 300_000 {
			mods[fmt.Sprint("seed ", seed)] = b
		}
	}
	if len(mods) < 20 {
		t.Errorf("%d modules that end", len(mods))
	}
	for name, b := range mods {
		out, info, err := meter.Rewrite(b, meter.Options{Unmetered: true})
		if err != nil {
			t.Fatal(err)
		}
		m, err := newMachine(out, info.Imports, &info, 0)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, e := range info.Exports {
			if _, err := m.call(e.Name, make([]uint64, len(e.Params))); errors.Is(err, errEnough) || m.fuel.Get() != 0 {
				t.Errorf("%s.%s was charged %d: %v", name, e.Name, -int64(m.fuel.Get()), err)
			}
		}
		m.close()
		compareWith(t, name, b, 1<<40, meter.Options{Unmetered: true})
	}
}

func TestCorpusBehavesAlike(t *testing.T) {
	for name, b := range corpus(t) {
		compare(t, name, b, 100_000_000)
	}
}
