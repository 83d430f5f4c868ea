package wasm

import (
	"sync"
	"time"

	"github.com/weirproxy/weir/core/wasm/meter"
)

// ModuleOptions says what a module may use. A zero field takes its default.
type ModuleOptions struct {
	Name   string        // for errors
	Memory uint64        // cap of linear memory in bytes, rounded down to pages; default 64 MiB
	Stack  int64         // cap of the native stack of nested calls, estimated from above; default 8 MiB
	Start  time.Duration // CPU budget of the start section, _initialize and _start together; default 1 s
	Limits meter.Options // further caps; MemoryPages, MemoryMax, Stack and Unmetered in it are not used

	// Host lists the functions offered besides WASI, which they take precedence over. Loads share compiled code only if
	// they pass the same slice.
	Host []HostFunc

	// Missing gives a function for an import that neither Host nor WASI offers (known is nil), or that they offer with
	// another signature (known is the real one): then its Fn is linked, with the signature the module wants. False, like
	// a nil Missing, is an error of Load. Since loads share compiled code by Host alone, it must answer the same for
	// every load with the same slice; and Fn must find what it works on with FromContext, not in a closure over one load.
	Missing func(im meter.Func, known *HostFunc) (HostFunc, bool)

	Env  []string // the guest's environment, KEY=VALUE
	Args []string // its arguments, its own name first
	// Log takes each line the guest writes to its standard output (fd 1) or error (fd 2), without the newline. Lines
	// over 4 KiB come in pieces. The line is valid until Log returns. Nil drops them.
	Log func(fd int, line []byte)
}

func (o *ModuleOptions) setDefaults() {
	if o.Name == "" {
		o.Name = "guest"
	}
	if o.Memory == 0 {
		o.Memory = 64 << 20
	}
	o.Memory = min(o.Memory, 4<<30) &^ (meter.PageSize - 1)
	if o.Stack == 0 {
		o.Stack = 8 << 20
	}
	if o.Start == 0 {
		o.Start = time.Second
	}
}

// Module is a compiled guest with its options. Its methods may be called concurrently.
type Module struct {
	code *code
	o    ModuleOptions

	mu     sync.Mutex
	closed bool
}

func newModule(c *code, o ModuleOptions) *Module { return &Module{code: c, o: o} }

// Name is the name given in ModuleOptions.
func (m *Module) Name() string { return m.o.Name }

// Info describes the module: what it imports and exports and how large its memory is.
func (m *Module) Info() meter.Info { return m.code.info }

// Links says how each import was met, in the order in which the module names them. The slice must not be changed.
func (m *Module) Links() []Link { return m.code.links }

// Exports reports whether the module exports a function of that name.
func (m *Module) Exports(name string) bool {
	for i := range m.code.info.Exports {
		if m.code.info.Exports[i].Name == name {
			return true
		}
	}
	return false
}

// Close gives the compiled code back once the last instance is closed too. It may be called more than once.
func (m *Module) Close() error {
	m.mu.Lock()
	first := !m.closed
	m.closed = true
	m.mu.Unlock()
	if first {
		m.code.release()
	}
	return nil
}

// retain takes a reference to the code for an instance, unless the module is closed.
func (m *Module) retain() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.code.retain()
	return true
}
