package upstream

import (
	"time"

	"github.com/weirproxy/weir/core/exchange"
)

// sleeper is a wait of an exchange that has no connection meanwhile which Cancel could end: it ends by time, by Abort, or
// with the exchange. It is an [exchange.Link], and used again.
type sleeper struct {
	woken chan struct{} // room for one
	timer *time.Timer
}

func newSleeper() sleeper {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return sleeper{woken: make(chan struct{}, 1), timer: t}
}

// Abort wakes the sleeper, now or as soon as it sleeps. Any goroutine.
func (s *sleeper) Abort() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// AbortRead is Abort.
func (s *sleeper) AbortRead() { s.Abort() }

func (s *sleeper) sleep(x *exchange.Exchange, most time.Duration) {
	s.timer.Reset(most)
	x.Bind(exchange.UpstreamLeg, s)
	select {
	case <-s.woken:
	case <-s.timer.C:
	}
	x.Bind(exchange.UpstreamLeg, nil)
	s.timer.Stop()
}

// clear forgets a word that came when nobody slept any more. Nobody else can reach s.
func (s *sleeper) clear() {
	select {
	case <-s.woken:
	default:
	}
}
