package plan

import (
	"sync/atomic"

	"github.com/weirproxy/weir/core/observe"
)

// AccessLog is an access log that plans share, and streams that have outlived theirs: the last to let go closes it.
type AccessLog struct {
	*observe.AccessLog
	holds   atomic.Int64
	closing func()
}

// NewAccessLog makes log one that is shared, held once. closing is called when nobody holds it any more.
func NewAccessLog(log *observe.AccessLog, closing func()) *AccessLog {
	a := &AccessLog{AccessLog: log, closing: closing}
	a.holds.Store(1)
	return a
}

// Hold keeps a open until Drop. Who calls it knows somebody that holds a.
func (a *AccessLog) Hold() { a.holds.Add(1) }

// Drop lets go.
func (a *AccessLog) Drop() {
	if a.holds.Add(-1) == 0 {
		a.closing()
	}
}
