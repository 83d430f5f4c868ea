package proxyabi

import (
	"testing"

	"github.com/weirproxy/weir/core/coretest/alloc"
)

// A request past a filter allocates nothing, from the stream's making to its end.
func TestExchangeAllocations(t *testing.T) {
	for name, code := range map[string][]byte{"by hand": tagging(newProgram()).build(), "stock Go": stockGo(t)} {
		t.Run(name, func(t *testing.T) {
			f, c := tagger(t, code, 1), &client{}
			alloc.Floor(t, func() { c.exchange(f) })
			if c.failed != nil {
				t.Fatal(c.failed)
			}
		})
	}
}
