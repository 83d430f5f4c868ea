package abi

import (
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/clock"
)

// Bounds on what guests may log: a line, the lines of one exchange, and those of a filter in a second.
const (
	MaxLine          = 4 << 10
	LinesPerExchange = 32
	LinesPerSecond   = 100
)

// Journal is a filter's log, bounded. Its methods may be called concurrently.
type Journal struct {
	log  zerolog.Logger
	pace clock.Pace
	lost atomic.Int64 // in all
	told atomic.Int64 // lost lines that the log has told of
}

// NewJournal makes the log of one filter.
func NewJournal(log zerolog.Logger, filter string) *Journal {
	return &Journal{log: log.With().Str("filter", filter).Logger()}
}

// Log is the log itself, of what the host has to say; what guests cause asks Admit first.
func (j *Journal) Log() *zerolog.Logger { return &j.log }

// Stopped tells that the filter is not called for d.
func (j *Journal) Stopped(d time.Duration) {
	j.log.Error().Stringer("for", d).Msg("filter failed too often: it is not called for a while, then tried with one request")
}

// Back tells that a filter that was stopped is called again.
func (j *Journal) Back() { j.log.Info().Msg("filter works again") }

// Drop counts a line that is not written.
func (j *Journal) Drop() { j.lost.Add(1) }

// Lost is how many lines were dropped.
func (j *Journal) Lost() int64 { return j.lost.Load() }

// Admit reports whether one more line may be written now.
func (j *Journal) Admit() bool {
	ok, first := j.pace.Admit(LinesPerSecond)
	if first {
		lost := j.lost.Load()
		if n := lost - j.told.Swap(lost); n > 0 {
			j.log.Warn().Int64("lines", n).Msg("filter logs too much: lines dropped")
		}
	}
	if !ok {
		j.lost.Add(1)
	}
	return ok
}

// Line writes what a guest says; id is the request's, nil for none.
func (j *Journal) Line(level zerolog.Level, text []byte, id []byte) {
	if !j.Enabled(level) || !j.Admit() {
		return
	}
	if len(text) > MaxLine {
		text = text[:MaxLine]
	}
	e := j.log.WithLevel(level)
	if id != nil {
		e = e.Bytes("request_id", id)
	}
	e.Bytes("message", text).Send()
}

// Enabled reports whether lines of a level are written at all.
func (j *Journal) Enabled(level zerolog.Level) bool {
	return level >= j.log.GetLevel() && level >= zerolog.GlobalLevel() && level != zerolog.NoLevel
}

// Output takes lines of a guest's standard streams.
func (j *Journal) Output(fd int, line []byte) {
	level := zerolog.InfoLevel
	if fd == 2 {
		level = zerolog.WarnLevel
	}
	if len(line) > 0 {
		j.Line(level, line, nil)
	}
}
