package meter_test

import (
	"testing"

	"github.com/weirproxy/weir/core/wasm/meter"
)

// FuzzDecode needs no engine and so runs fast: whatever the bytes, no panic and an *Error at worst.
func FuzzDecode(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(randomModule(seed))
	}
	f.Add(bulk()[:3000])
	f.Fuzz(func(t *testing.T, b []byte) {
		out, _, err := meter.Rewrite(b, meter.Options{Locals: 500, MemoryPages: 16, TableEntries: 1000})
		if err == nil && len(out) > 64*len(b)+4096 {
			t.Fatalf("%d bytes became %d", len(b), len(out))
		}
	})
}
