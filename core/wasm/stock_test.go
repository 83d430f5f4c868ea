package wasm

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func openStock(t testing.TB, m *Module, o StockOptions) *Stock {
	t.Helper()
	s, err := OpenStock(nocontext, m, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(t testing.TB, s *Stock) *Instance {
	t.Helper()
	in, err := s.Get(nocontext, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// settle waits until what was closed has been replaced.
func settle(s *Stock) {
	for filling := true; filling; time.Sleep(ms / 10) {
		s.mu.Lock()
		filling = s.filling
		s.mu.Unlock()
	}
}

func TestStockLendsAndBounds(t *testing.T) {
	s := openStock(t, load(t, hostile(), ModuleOptions{}), StockOptions{Max: 2})
	if st := s.Stats(); st.Live != 1 || st.InUse != 0 || st.Made != 1 {
		t.Errorf("%+v", st)
	}
	a, b := get(t, s), get(t, s)
	if _, err := s.Get(nocontext, 0); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	if _, err := s.Get(nocontext, 5*ms); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(nocontext, 5*ms)
	defer cancel()
	if _, err := s.Get(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	s.Put(a)
	if in := get(t, s); in != a {
		t.Error("an idle instance was not reused")
	}
	// What trapped is closed, and the place may be filled again.
	if err := b.Call(lookup(t, b, "unreachable"), ms, nil); err == nil {
		t.Fatal("no trap")
	}
	s.Put(b)
	c := get(t, s)
	if c == b {
		t.Error("a trapped instance came back")
	}
	s.Discard(c)
	settle(s)
	s.Put(a)
	st := s.Stats()
	// The third may have come while the place was being filled, and waited for that.
	if st.Live != 2 || st.InUse != 0 || st.Discards != 2 || st.Waits < 2 || st.Waits > 3 || st.Timeouts != 3 {
		t.Errorf("%+v", st)
	}
	if err := s.Close(nocontext); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(nocontext, 0); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if st := s.Stats(); st.Live != 0 {
		t.Errorf("%+v", st)
	}
}

func TestStockServesInOrder(t *testing.T) {
	s := openStock(t, load(t, hostile(), ModuleOptions{}), StockOptions{Max: 1})
	in := get(t, s)
	const n = 5
	order := make(chan int, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			in, err := s.Get(nocontext, 10*time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			order <- i
			if i%2 == 0 {
				s.Discard(in) // the next in line makes its own
				return
			}
			s.Put(in)
		}()
		for s.Stats().Waits != int64(i+1) {
			time.Sleep(ms / 10)
		}
	}
	s.Put(in)
	wg.Wait()
	for i := range n {
		if got := <-order; got != i {
			t.Errorf("place %d went to %d", i, got)
		}
	}
	s.Close(nocontext)
}

func TestStockRecycles(t *testing.T) {
	m := load(t, hostile(), ModuleOptions{})
	s := openStock(t, m, StockOptions{Max: 1, Uses: 3, Memory: 1 << 20})
	in := get(t, s)
	for range 3 {
		if err := in.Call(lookup(t, in, "noop"), ms, nil); err != nil {
			t.Fatal(err)
		}
	}
	s.Put(in)
	if next := get(t, s); next == in {
		t.Error("a worn instance came back")
	} else {
		next.mem.b = make([]byte, 2<<20)
		s.Put(next)
		if last := get(t, s); last == next {
			t.Error("a grown instance came back")
		} else {
			s.Put(last)
		}
	}
	if st := s.Stats(); st.Recycled != 2 || st.Live != 1 || st.Discards != 0 {
		t.Errorf("%+v", st)
	}
	s.Close(nocontext)
}

// TestStockRecyclesByAge: an instance older than Age is replaced when it comes back, and not before; and instances made
// together get ages that differ.
func TestStockRecyclesByAge(t *testing.T) {
	const age = time.Hour
	begin := time.Now()
	s := openStock(t, load(t, hostile(), ModuleOptions{}), StockOptions{Min: 16, Max: 17, Age: age})
	ages := map[time.Time]bool{}
	var lent []*Instance
	for range 17 {
		in := get(t, s)
		if in.until.Before(begin.Add(age/8*7)) || in.until.After(time.Now().Add(age)) {
			t.Errorf("old in %v", time.Until(in.until))
		}
		ages[in.until] = true
		lent = append(lent, in)
	}
	if len(ages) < 10 {
		t.Errorf("%d ages of 17", len(ages))
	}
	for _, in := range lent {
		s.Put(in)
	}
	old := get(t, s)
	old.until = time.Now().Add(-1)
	s.Put(old)
	if st := s.Stats(); st.Recycled != 1 || st.Live != 16 || !old.closed {
		t.Errorf("%+v", st)
	}
	in := get(t, s)
	if in == old {
		t.Error("an old instance came back")
	}
	s.Put(in)
	if st := s.Stats(); st.Recycled != 1 || st.Live != 16 {
		t.Errorf("%+v", st)
	}
	s.Close(nocontext)
}

func TestStockTrimsIdle(t *testing.T) {
	s := openStock(t, load(t, hostile(), ModuleOptions{}), StockOptions{Max: 4, TTL: 20 * ms})
	var lent []*Instance
	for range 4 {
		lent = append(lent, get(t, s))
	}
	for _, in := range lent {
		s.Put(in)
	}
	deadline := time.Now().Add(5 * time.Second)
	for s.Stats().Live != 1 && time.Now().Before(deadline) {
		time.Sleep(ms)
	}
	if st := s.Stats(); st.Live != 1 {
		t.Errorf("%+v", st)
	}
	lent = []*Instance{get(t, s), get(t, s)}
	s.Put(lent[0])
	s.Put(lent[1])
	s.Close(nocontext) // with the timer set
}

func TestStockBacksOff(t *testing.T) {
	no := errors.New("no")
	var fail atomic.Bool
	var tries atomic.Int64
	s := openStock(t, load(t, hostile(), ModuleOptions{}), StockOptions{Max: 2, Retry: 50 * ms, RetryMax: 80 * ms,
		Instance: InstanceOptions{Ready: func(*Instance) error {
			tries.Add(1)
			if fail.Load() {
				return no
			}
			return nil
		}}})
	fail.Store(true)
	only := get(t, s)
	if _, err := s.Get(nocontext, 0); !errors.Is(err, no) {
		t.Error(err)
	}
	before := tries.Load()
	if _, err := s.Get(nocontext, 0); !errors.Is(err, ErrBusy) {
		t.Error("with one lent out there is one to wait for:", err)
	}
	// The one there was is lost while somebody waits for it, and another cannot be made.
	waited := make(chan error)
	go func() {
		_, err := s.Get(nocontext, time.Minute)
		waited <- err
	}()
	for s.Stats().Waits == 0 {
		time.Sleep(ms / 10)
	}
	s.Discard(only)
	if err := <-waited; !errors.Is(err, no) {
		t.Error(err)
	}
	for range 1000 {
		if _, err := s.Get(nocontext, time.Minute); !errors.Is(err, no) {
			t.Error(err)
		}
	}
	if n := tries.Load() - before; n > 3 {
		t.Errorf("%d tries while backed off", n)
	}
	fail.Store(false)
	time.Sleep(100 * ms)
	s.Put(get(t, s))
	if st := s.Stats(); st.Fails == 0 || st.Live != 1 {
		t.Errorf("%+v", st)
	}
	s.Close(nocontext)
	fail.Store(true)
	if _, err := OpenStock(nocontext, s.m, StockOptions{Instance: s.o.Instance}); !errors.Is(err, no) {
		t.Error(err)
	}
}

func TestStockClosesWhatComesBack(t *testing.T) {
	s := openStock(t, load(t, hostile(), ModuleOptions{}), StockOptions{Max: 1})
	in := get(t, s)
	waited := make(chan error)
	go func() {
		_, err := s.Get(nocontext, time.Minute)
		waited <- err
	}()
	for s.Stats().Waits == 0 {
		time.Sleep(ms / 10)
	}
	ctx, cancel := context.WithTimeout(nocontext, 10*ms)
	defer cancel()
	if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := <-waited; !errors.Is(err, errClosed) {
		t.Error(err)
	}
	go func() {
		time.Sleep(5 * ms)
		s.Put(in)
	}()
	if err := s.Close(nocontext); err != nil || !in.closed || s.Stats().Live != 0 {
		t.Error("an instance outlived its stock", err)
	}
}

func TestStockHammer(t *testing.T) {
	m := load(t, hostile(), ModuleOptions{})
	s := openStock(t, m, StockOptions{Max: 3, Uses: 50, TTL: ms})
	var wg sync.WaitGroup
	var served atomic.Int64
	for g := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 200 {
				in, err := s.Get(nocontext, 50*ms)
				if errors.Is(err, ErrBusy) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if err := in.Call(lookup(t, in, "noop"), ms, nil); err != nil {
					t.Error(err)
				}
				served.Add(1)
				if (g+i)%37 == 0 {
					s.Discard(in)
					continue
				}
				s.Put(in)
			}
		}()
	}
	wg.Wait()
	if st := s.Stats(); st.InUse != 0 || st.Live > 3 || st.Live < 0 || served.Load() == 0 {
		t.Errorf("%+v", st)
	}
	if err := s.Close(nocontext); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); st.Live != 0 {
		t.Errorf("%+v", st)
	}
}

// What is discarded is made anew in the background: the next to come finds one that stands ready, and pays for nothing.
func TestStockFillsUp(t *testing.T) {
	m := load(t, hostile(), ModuleOptions{})
	s, err := OpenStock(nocontext, m, StockOptions{Max: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(5) {
		in, err := s.Get(nocontext, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.Discard(in)
		settle(s)
		if n := s.Stats(); n.Made != i+2 || n.Live != 1 || n.InUse != 0 {
			t.Fatalf("%+v", n)
		}
	}
	in, err := s.Get(nocontext, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.Discard(in) // and closed while it is made
	if err := s.Close(nocontext); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats(); n.Live != 0 || n.InUse != 0 {
		t.Errorf("%+v", n)
	}
}
