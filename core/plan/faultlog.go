package plan

import (
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/clock"
)

// faultsPerSecond is how many requests that failed by a filter or by weir itself the process log tells of: one filter that is
// stopped fails them as fast as they come. The access log has them all.
const faultsPerSecond = 10

// FaultLog bounds what is logged of failed requests. The zero value is ready; any goroutine may use it.
type FaultLog struct {
	pace clock.Pace
	lost atomic.Int64 // not told of since
}

// Begin gives the line for one more failed request; nil: it is not logged.
func (f *FaultLog) Begin(log *zerolog.Logger) *zerolog.Event {
	ok, first := f.pace.Admit(faultsPerSecond)
	if !ok {
		f.lost.Add(1)
		return nil
	}
	if first {
		if n := f.lost.Swap(0); n > 0 {
			log.Error().Int64("requests", n).Msg("more requests failed: the access log has them")
		}
	}
	return log.Error()
}
