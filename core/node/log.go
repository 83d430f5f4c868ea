package node

import (
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/observe"
	"github.com/weirproxy/weir/core/plan"
)

// level is the least level that is logged. A reload may change it, and a zerolog.Logger's own is fixed in every copy.
type level struct{ least atomic.Int32 }

func (l *level) set(name string) {
	if parsed, err := zerolog.ParseLevel(name); err == nil {
		l.least.Store(int32(parsed))
	}
}

// Run is zerolog's hook.
func (l *level) Run(e *zerolog.Event, at zerolog.Level, _ string) {
	if int32(at) < l.least.Load() {
		e.Discard()
	}
}

// accessLog is an access log and where it goes.
type accessLog struct {
	*plan.AccessLog
	output string
}

// openAccessLog opens a log that the node holds once.
func (n *Node) openAccessLog(output string) (*accessLog, error) {
	o := observe.AccessLogOptions{WriterOptions: observe.WriterOptions{Output: output}}
	if output == config.AccessLogStdout {
		o.To = n.o.Stdout
	}
	log, err := observe.OpenAccessLog(o)
	if err != nil {
		return nil, err
	}
	lease := n.shared.Metrics.Lease()
	lease.Log("access", log.Writer())
	return &accessLog{output: output, AccessLog: plan.NewAccessLog(log, func() {
		_ = log.Close(flushTime)
		lease.Close()
	})}, nil
}
