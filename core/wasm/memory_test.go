package wasm

import (
	"errors"
	"testing"
)

func TestMemory(t *testing.T) {
	backings := map[string]func(uint64) backing{
		"mapped": newBacking, "slice": func(uint64) backing { return &slice{} },
	}
	for name, open := range backings {
		t.Run(name, func(t *testing.T) {
			m := &Memory{limit: 256 << 10}
			m.Allocate(0, 192<<10)
			m.backing = open(m.limit)
			defer m.Free()
			if b := m.Reallocate(0); b == nil || m.Size() != 0 {
				t.Error("empty memory")
			}
			if b := m.Reallocate(64 << 10); len(b) != 64<<10 || cap(b) != len(b) {
				t.Error("first page")
			}
			if !m.WriteString(100, "hello") || !m.Write(105, []byte(" all")) || !m.PutUint32(200, 7) || !m.PutUint64(208, 9) {
				t.Error("write")
			}
			if b := m.Reallocate(192 << 10); len(b) != 192<<10 {
				t.Error("grow")
			}
			if m.Reallocate(193<<10) != nil || !m.refused {
				t.Error("grew over the limit")
			}
			if p, ok := m.Read(100, 9); !ok || string(p) != "hello all" || cap(p) != 9 {
				t.Errorf("read %q", p)
			}
			if v, ok := m.Uint32(200); !ok || v != 7 {
				t.Error("uint32")
			}
			if p, _ := m.Read(64<<10, 128<<10); p[0] != 0 || p[len(p)-1] != 0 {
				t.Error("new pages are not zero")
			}
			end := uint32(m.Size())
			for _, c := range [][2]uint32{{end, 1}, {end - 3, 4}, {0xffffffff, 1}, {0xffffffff, 0xffffffff}, {1, 0xffffffff}} {
				if _, ok := m.Read(c[0], c[1]); ok {
					t.Errorf("read at %d of %d", c[0], c[1])
				}
			}
			if p, ok := m.Read(end, 0); !ok || len(p) != 0 {
				t.Error("an empty view at the end")
			}
			if _, ok := m.Uint32(end - 3); ok {
				t.Error("uint32 over the end")
			}
			if m.WriteString(end-4, "hello") || m.Write(0xffffffff, []byte("x")) || m.PutUint32(end-3, 1) || m.PutUint64(end-7, 1) {
				t.Error("write over the end")
			}
			m.Free()
			m.Free()
			if m.Size() != 0 || m.Reallocate(1) != nil {
				t.Error("freed memory lives")
			}
		})
	}
}

func TestNoMemoryToBeHad(t *testing.T) {
	in := &Instance{m: load(t, hostile(), ModuleOptions{})}
	in.mem.limit = 1 // less than the module's first page
	if err := in.open(nocontext); !errors.Is(err, ErrMemory) {
		t.Error(err)
	}
}
