package upstream

import (
	"sync"
	"sync/atomic"
	"testing"
)

// Of n requests from the first on, never more than max(3, ratio·n) are retried beside what was saved up, however they come.
func TestBudget(t *testing.T) {
	for _, ratio := range []float64{0, 0.05, 0.2, 0.5, 1} {
		var b budget
		retries := 0
		for n := 1; n <= 10_000; n++ {
			b.earn(ratio)
			for b.take() { // as many as can be had
				retries++
			}
			if most := max(3, ratio*float64(n)); float64(retries) > most+1e-6 {
				t.Fatalf("ratio %v: %d retries of %d requests", ratio, retries, n)
			}
		}
		if least := ratio*10_000 - 1; float64(retries) < least {
			t.Errorf("ratio %v: only %d retries", ratio, retries)
		}
	}
	// A healthy upstream has ten saved, and no more.
	var b budget
	for range 10_000 {
		b.earn(0.2)
	}
	saved := 0
	for b.take() {
		saved++
	}
	if saved != 10 {
		t.Errorf("%d saved", saved)
	}
	b.refund()
	if !b.take() || b.take() {
		t.Error("a refund is one retry")
	}
}

func TestBudgetHammer(t *testing.T) {
	var b budget
	var retries atomic.Int64
	const workers, each = 8, 20_000
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				b.earn(0.2)
				if b.take() {
					retries.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got, most := retries.Load(), int64(workers*each/5); got > most || got < most-20 {
		t.Errorf("%d retries, at most %d may be", got, most)
	}
}
