package main

import (
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/observe"
	"github.com/weirproxy/weir/filters"
)

// kinds is the built-in filters and where their log goes.
type kinds struct {
	*filters.Set
	log *observe.Writer
}

// openKinds makes them for a configuration. open reads modules; nil is from files.
func openKinds(spec *config.Spec, open func(file string) ([]byte, error)) (*kinds, error) {
	w, err := observe.OpenWriter(observe.WriterOptions{Output: "stderr", Ordered: true})
	if err != nil {
		return nil, err
	}
	level, err := zerolog.ParseLevel(spec.Log.Level)
	if err != nil {
		level = zerolog.InfoLevel
	}
	set := filters.Open(filters.Options{StateDir: spec.StateDir, Open: open, Log: observe.NewLog(level, w)})
	return &kinds{set, w}, nil
}

// Close ends them, once no plan is left.
func (k *kinds) Close() error { return errors.Join(k.Set.Close(), k.log.Close(time.Second)) }
