package httpabi

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/clock"
)

// Bounds on what guests may log: a line, the lines of one exchange, and those of a filter in a second.
const (
	maxLine          = 4 << 10
	linesPerExchange = 32
	linesPerSecond   = 100
)

// journal is a filter's log, bounded. Its methods may be called concurrently.
type journal struct {
	log    zerolog.Logger
	second atomic.Int64
	lines  atomic.Int64
	lost   atomic.Int64 // in all
	told   atomic.Int64 // lost lines that the log has told of
}

// admit reports whether one more line may be written now.
func (j *journal) admit() bool {
	now := clock.Nano() / int64(time.Second)
	if then := j.second.Load(); then != now && j.second.CompareAndSwap(then, now) {
		j.lines.Store(0)
		lost := j.lost.Load()
		if n := lost - j.told.Swap(lost); n > 0 {
			j.log.Warn().Int64("lines", n).Msg("filter logs too much: lines dropped")
		}
	}
	if j.lines.Add(1) > linesPerSecond {
		j.lost.Add(1)
		return false
	}
	return true
}

// line writes what a guest says.
func (j *journal) line(level zerolog.Level, text []byte, id []byte) {
	if !j.enabled(level) || !j.admit() {
		return
	}
	if len(text) > maxLine {
		text = text[:maxLine]
	}
	e := j.log.WithLevel(level)
	if id != nil {
		e = e.Bytes("request_id", id)
	}
	e.Bytes("message", text).Send()
}

func (j *journal) enabled(level zerolog.Level) bool {
	return level >= j.log.GetLevel() && level >= zerolog.GlobalLevel() && level != zerolog.NoLevel
}

// output takes lines of a guest's standard streams.
func (j *journal) output(fd int, line []byte) {
	level := zerolog.InfoLevel
	if fd == 2 {
		level = zerolog.WarnLevel
	}
	if len(line) > 0 {
		j.line(level, line, nil)
	}
}

// levelOf maps the ABI's levels; what it does not know is NoLevel, which is never written.
func levelOf(v uint64) zerolog.Level {
	switch int32(uint32(v)) {
	case -1:
		return zerolog.DebugLevel
	case 0:
		return zerolog.InfoLevel
	case 1:
		return zerolog.WarnLevel
	case 2:
		return zerolog.ErrorLevel
	}
	return zerolog.NoLevel
}

func logEnabled(ctx context.Context, _ api.Module, s []uint64) {
	enabled := current(ctx).f.journal.enabled(levelOf(s[0]))
	s[0] = 0
	if enabled {
		s[0] = 1
	}
}

// logMessage never traps.
func logMessage(ctx context.Context, _ api.Module, s []uint64) {
	g := current(ctx)
	j := &g.f.journal
	level := levelOf(s[0])
	if !j.enabled(level) {
		return
	}
	if g.lines++; g.lines > linesPerExchange {
		j.lost.Add(1)
		return
	}
	text, ok := g.in.Memory().Read(uint32(s[1]), min(uint32(s[2]), maxLine))
	if !ok {
		return
	}
	var id []byte
	if g.x != nil {
		id = g.x.RequestID
	}
	j.line(level, text, id)
}
