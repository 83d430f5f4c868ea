// Package meter rewrites WebAssembly modules so that a host can bound what they spend.
//
// Rewritten code lowers a fuel global at every function entry and loop header and calls an imported host function when
// the fuel runs below zero; it counts the native stack its calls may take; and it splits bulk operations into short,
// charged steps. The package knows nothing of the engine that runs the result.
package meter

import "fmt"

// Version names the shape of the output. It is part of every compile-cache key and rises with every change that alters
// a rewritten module.
const Version = 4

// ImportModule and ImportName name the one function a rewritten module imports beyond its own: of type () → (), called
// when Info.Fuel or Info.Depth has fallen below zero. It either raises the fuel to zero or more and returns, or panics.
const (
	ImportModule = "weir:meter"
	ImportName   = "out"
)

// PageSize is the size of a WebAssembly memory page in bytes.
const PageSize = 64 << 10

// Options caps what a module may ask for. A zero field takes its default.
type Options struct {
	Module       int    // bytes of the module; default 32 MiB
	Functions    int    // functions, imported ones included; default 65,536
	Body         int    // bytes of one function body; default 1 MiB
	Locals       int    // parameters and locals of one function; default 10,000
	Blocks       int    // basic blocks of one function; default 16,384
	Effort       int64  // estimate of what compiling one function takes; 64 times that for all; default 2 Mi
	Types        int    // function types; default 16,384
	Values       int    // parameters and results of all types together; default 131,072
	Imports      int    // imports; default 1,024
	Exports      int    // exports; default 65,536
	Globals      int    // globals; default 4,096
	Segments     int    // data segments, and element segments, each; default 65,536
	Elements     int    // entries of all element segments together; default 262,144
	Tables       int    // tables; default 4
	TableEntries uint32 // entries of one table, now and after growing; default 65,536
	MemoryPages  uint32 // pages of the memory at first; default 1,024 (64 MiB)
	MemoryMax    uint32 // pages of the memory after growing; default MemoryPages
	Stack        int64  // bytes of native stack that nested calls may take, estimated from above; default 8 MiB

	// Unmetered leaves out all that costs anything at run time: fuel, stack, steps. It is for measuring what they cost; such
	// a guest can hang the process.
	Unmetered bool
}

func (o Options) withDefaults() Options {
	def(&o.Module, 32<<20)
	def(&o.Functions, 1<<16)
	def(&o.Body, 1<<20)
	def(&o.Locals, 10_000)
	// Measured on wazero 1.12, before these two: 80 KB of loops in loops took it 57 s, 180 KB with ten thousand operands
	// over ten thousand blocks 36 s and 4.6 GB. The largest function of stock Go has 3,367 blocks and an effort of 0.1 Mi.
	def(&o.Blocks, 1<<14)
	def(&o.Effort, 2<<20)
	def(&o.Types, 1<<14)
	def(&o.Values, 1<<17)
	def(&o.Imports, 1<<10)
	def(&o.Exports, 1<<16)
	def(&o.Globals, 1<<12)
	def(&o.Segments, 1<<16)
	def(&o.Elements, 1<<18)
	def(&o.Tables, 4)
	def(&o.TableEntries, 1<<16)
	def(&o.MemoryPages, 1<<10)
	def(&o.MemoryMax, o.MemoryPages)
	def(&o.Stack, 8<<20)
	return o
}

func def[T int | int64 | uint32](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Func is a function as its importer or exporter sees it. Params and Results hold value types in the binary format's
// encoding (0x7f is i32).
type Func struct {
	Module  string // empty for an export
	Name    string
	As      string // of an import: its name in the rewritten module
	Params  []byte
	Results []byte
}

// Info describes a rewritten module.
type Info struct {
	Fuel   string // export name of the i64 fuel global, 0 at first
	Depth  string // export name of the i64 global that holds the native stack left, in bytes
	Start  string // export name of the former start function, empty if the module had none
	Memory bool   // the module has a memory

	MinPages, MaxPages uint32 // of the memory, as rewritten

	// Imports is what the module imported before the rewriting. An engine binds imports by name alone, so one whose name
	// stood before with another type gets a name of its own in As.
	Imports []Func
	Exports []Func // the functions it exports, Start not among them

	MaxFrame int64 // the largest frame estimate of a function, in bytes
}

// Error says why a module was refused and where.
type Error struct {
	Offset  int    // byte offset in the module
	Feature string // the proposal that the module needs, empty when the module is malformed or over a cap
	Msg     string
}

func (e *Error) Error() string {
	if e.Feature != "" {
		return fmt.Sprintf("read module: %s at byte %d: %s is not supported", e.Msg, e.Offset, e.Feature)
	}
	return fmt.Sprintf("read module: %s at byte %d", e.Msg, e.Offset)
}

// Rewrite returns a metered copy of a WebAssembly 2.0 core module. It checks all that the rewriting rests on — every
// index and every immediate — and leaves the typing of instructions to the validator of the engine, which must accept
// the output before it is run. The input is not changed and not kept. Every error is an *Error.
//
// The module behaves as before, except that: it imports ImportModule.ImportName; it exports Fuel, Depth and Start and
// never runs Start by itself; its memory and tables cannot grow beyond the caps; custom sections but function names
// are gone.
func Rewrite(module []byte, o Options) ([]byte, Info, error) {
	o = o.withDefaults()
	m, err := decode(module, &o)
	if err != nil {
		return nil, Info{}, err
	}
	w := &rewriter{m: m, o: &o, helpers: map[helperKey]uint32{}, blocks: map[string]uint32{}}
	if err := w.bodies(); err != nil {
		return nil, Info{}, err
	}
	return w.assemble(), w.info(), nil
}
