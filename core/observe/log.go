package observe

import (
	"io"

	"github.com/rs/zerolog"
)

// NewLog makes the log of the process: JSON lines of at least the level, with the field names of the access log, to w,
// which is a Writer so that logging never waits.
func NewLog(level zerolog.Level, w io.Writer) zerolog.Logger {
	return zerolog.New(w).Level(level).Hook(timestamp{})
}

// timestamp is zerolog's own but for the format, which there is a variable of the whole process.
type timestamp struct{}

func (timestamp) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	var buf [len(timeLayout)]byte
	e.Bytes("timestamp", appendTime(buf[:0]))
}
