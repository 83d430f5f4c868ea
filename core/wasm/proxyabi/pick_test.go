package proxyabi

import (
	"errors"
	"sync"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

// Who waits for a shard that dies or retires meanwhile gets the one that has taken its place.
func TestPickWhileReplaced(t *testing.T) {
	vm, _ := start(t, newBare().code())
	for round := range 40 {
		coretest.Eventually(t, "a spare", func() bool { vm.mu.Lock(); defer vm.mu.Unlock(); return vm.ready() })
		sh := vm.shard(0)
		sh.mu.Lock()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				got, _, err := vm.pick(0)
				if err != nil {
					t.Error(err)
					return
				}
				if got == sh {
					t.Error("a shard that ends is given a stream")
				}
				got.mu.Unlock()
			})
		}
		if round%2 == 0 {
			// Its death alone must not stop the filter.
			sh.die(&sh.roots[0].scope, errors.New("trap"))
			vm.breaker.Settled(true)
		} else {
			vm.retire(sh)
		}
		sh.mu.Unlock()
		wg.Wait()
		vm.ask()
	}
}
