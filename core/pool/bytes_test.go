package pool

import (
	"sync"
	"testing"
)

func TestAcquire(t *testing.T) {
	f := func(n, want int) {
		t.Helper()
		for range 3 {
			b := Acquire(n)
			if len(b) != want || cap(b) != want {
				t.Errorf("%d: %d of %d", n, len(b), cap(b))
			}
			Release(b)
		}
	}
	f(0, Small)
	f(1, Small)
	f(Small, Small)
	f(Small+1, Medium)
	f(Medium, Medium)
	f(Medium+1, Large)
	f(Large, Large)
	f(Large+1, Large+1)
	Release(nil)
	Release(make([]byte, 5)) // not one of ours: left to the collector
	Release(Acquire(1)[:0])  // a shorter view of the same buffer is the buffer
}

// TestLentOnce holds buffers in many goroutines at once, each marked by its holder.
func TestLentOnce(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				b := Acquire([...]int{Small, Medium, Large}[i%3])
				b[0], b[len(b)-1] = byte(g), byte(g)
				if i%64 == 0 {
					c := Acquire(len(b))
					c[0] = 0xff
					Release(c)
				}
				if b[0] != byte(g) || b[len(b)-1] != byte(g) {
					t.Error("lent twice")
				}
				Release(b)
			}
		})
	}
	wg.Wait()
}
