package upstream

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/weirproxy/weir/core/clock"
)

// watch follows a file that lists endpoints. It reads the whole file again and again rather than asking the system for
// changes: that sees every way of replacing a file (a rename, the swap of a link above it as Kubernetes does, writing in
// place) on every file system, and costs a few system calls a second.
//
// A file is believed when two readings, FilePoll apart, were the same: one that is being written in place is not. A list
// cut short can be a good list, so nothing else tells.
type watch struct {
	list []EndpointOptions // the last good one
	used []byte            // what it was read from
	seen []byte            // the last reading
	err  string            // what was last told
	busy bool
	due  int64
}

// maxEndpointFile bounds a file of endpoints.
const maxEndpointFile = 1 << 20

// openFile reads the file for the first time. One that can't be used is an error, unless the group before has read it:
// then that list stays.
func (g *group) openFile(before *group) error {
	w := &watch{due: clock.Nano() + jitter(g.r.o.FilePoll)}
	data, err := readFile(g.o.File)
	if err == nil {
		w.list, err = g.o.parse(g.o.File, data)
		w.used, w.seen = data, data
	}
	g.file = w
	if err == nil {
		return nil
	}
	if before == nil || before.file == nil || before.o.File != g.o.File {
		return fmt.Errorf("read endpoints: %w", err)
	}
	list, old := g.o.parse(g.o.File, before.file.used)
	if old != nil {
		return fmt.Errorf("read endpoints: %w", old)
	}
	w.list, w.used = list, before.file.used
	g.fileFails(err)
	return nil
}

// fileFails tells why the file can't be used, once.
func (g *group) fileFails(err error) {
	if text := err.Error(); text != g.file.err {
		g.file.err = text
		g.tell("", "file of endpoints can't be used; the last good list stays", err, true)
	}
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEndpointFile+1))
	if err == nil && len(data) > maxEndpointFile {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxEndpointFile>>20)
	}
	return data, err
}

// startReading reads the file when that is due, by a goroutine: a file system may hang. g.mu is held.
func (g *group) startReading(now int64) {
	w := g.file
	if w == nil || w.busy || now < w.due {
		return
	}
	w.busy = true
	g.workers.Go(func() {
		data, err := readFile(g.o.File)
		g.mu.Lock()
		w.busy = false
		w.due = clock.Nano() + int64(g.r.o.FilePoll)
		if !g.closed {
			g.read(data, err)
		}
		g.mu.Unlock()
		g.kick()
	})
}

// read takes what the file held. g.mu is held.
func (g *group) read(data []byte, err error) {
	w := g.file
	same := err == nil && w.seen != nil && bytes.Equal(data, w.seen)
	w.seen = data
	if err != nil {
		w.seen = nil
	}
	if err == nil && (!same || bytes.Equal(data, w.used)) {
		if same {
			w.err = ""
		}
		return
	}
	var list []EndpointOptions
	if err == nil {
		list, err = g.o.parse(g.o.File, data)
	}
	if err != nil {
		g.fileFails(err)
		return
	}
	w.list, w.used, w.err = list, data, ""
	g.tell("", "file of endpoints read", nil, false)
	if g.override == nil {
		g.aim(nil)
		g.change(clock.Nano(), nil)
	}
}
