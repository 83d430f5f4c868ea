package httpabi

import (
	"context"

	"github.com/rs/zerolog"
	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm/abi"
)

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
	enabled := current(ctx).f.journal.Enabled(levelOf(s[0]))
	s[0] = 0
	if enabled {
		s[0] = 1
	}
}

// logMessage never traps.
func logMessage(ctx context.Context, _ api.Module, s []uint64) {
	g := current(ctx)
	j := g.f.journal
	level := levelOf(s[0])
	if !j.Enabled(level) {
		return
	}
	if g.lines++; g.lines > abi.LinesPerExchange {
		j.Drop()
		return
	}
	text, ok := g.in.Memory().Read(uint32(s[1]), min(uint32(s[2]), abi.MaxLine))
	if !ok {
		return
	}
	var id []byte
	if g.x != nil {
		id = g.x.RequestID
	}
	j.Line(level, text, id)
}
