package certs

import (
	"github.com/rs/zerolog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger gives certmagic a logger that writes to ours. What it tells as information is for debugging: weir tells of
// certificates itself. Its errors are warnings, for it tries again.
func zapLogger(log zerolog.Logger) *zap.Logger { return zap.New(&zapCore{log: log}) }

// obtaining is certmagic's name for the log of a certificate that is asked for the first time. How that ended weir tells.
const obtaining = "obtain"

// zapCore is a zapcore.Core.
type zapCore struct {
	log    zerolog.Logger
	fields []zapcore.Field
}

// Enabled is zapcore.Core's.
func (c *zapCore) Enabled(zapcore.Level) bool { return true }

// With is zapcore.Core's.
func (c *zapCore) With(fields []zapcore.Field) zapcore.Core {
	return &zapCore{c.log, append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check is zapcore.Core's.
func (c *zapCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return checked.AddCore(e, c)
}

// Write is zapcore.Core's.
func (c *zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	line := c.log.Debug()
	if e.Level >= zapcore.WarnLevel && e.LoggerName != obtaining {
		line = c.log.Warn()
	}
	if line == nil {
		return nil
	}
	m := zapcore.NewMapObjectEncoder()
	for _, f := range c.fields {
		f.AddTo(m)
	}
	for _, f := range fields {
		f.AddTo(m)
	}
	line.Str("part", "acme").Str("logger", e.LoggerName).Fields(m.Fields).Msg(e.Message)
	return nil
}

// Sync is zapcore.Core's.
func (c *zapCore) Sync() error { return nil }
