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
// A file is believed when two readings, FilePoll apart, were of the same file in the same state: one that is being written
// in place is not. A list cut short can be a good list, so nothing else tells.
type watch struct {
	list []EndpointOptions // the last good one
	used []byte            // what it was read from
	seen reading           // the last one
	err  string            // what was last told
	busy bool
	due  int64
}

// reading is a file's content and what it was read from.
type reading struct {
	data []byte
	info os.FileInfo // nil: it could not be read
}

// same reports whether nothing has happened to the file between a and b.
func (a reading) same(b reading) bool {
	return a.info != nil && b.info != nil && os.SameFile(a.info, b.info) && a.info.ModTime().Equal(b.info.ModTime()) &&
		bytes.Equal(a.data, b.data)
}

// maxEndpointFile bounds a file of endpoints.
const maxEndpointFile = 1 << 20

// openFile reads the file for the first time. One that can't be used is an error, unless the group before has read it:
// then that list stays.
func (g *group) openFile(before *group) error {
	w := &watch{due: clock.Nano() + jitter(g.r.o.FilePoll)}
	now, err := readFile(g.o.File)
	if err == nil {
		w.list, err = g.o.parse(g.o.File, now.data)
		w.used, w.seen = now.data, now
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

func readFile(path string) (r reading, err error) {
	f, err := os.Open(path)
	if err != nil {
		return reading{}, err
	}
	defer f.Close()
	if r.data, err = io.ReadAll(io.LimitReader(f, maxEndpointFile+1)); err != nil {
		return reading{}, err
	}
	if len(r.data) > maxEndpointFile {
		return reading{}, fmt.Errorf("%s is larger than %d MiB", path, maxEndpointFile>>20)
	}
	if r.info, err = f.Stat(); err != nil {
		return reading{}, err
	}
	return r, nil
}

// startReading reads the file when that is due, by a goroutine: a file system may hang. g.mu is held.
func (g *group) startReading(now int64) {
	w := g.file
	if w == nil || w.busy || now < w.due {
		return
	}
	w.busy = true
	g.workers.Go(func() {
		now, err := readFile(g.o.File)
		g.mu.Lock()
		w.busy = false
		w.due = clock.Nano() + int64(g.r.o.FilePoll)
		if !g.closed {
			g.read(now, err)
		}
		g.mu.Unlock()
		g.kick()
	})
}

// read takes what the file holds now, or why it can't be read. g.mu is held.
func (g *group) read(now reading, err error) {
	w := g.file
	before := w.seen
	w.seen = now
	if err == nil && !now.same(before) {
		return
	}
	if err == nil && bytes.Equal(now.data, w.used) {
		w.err = ""
		return
	}
	var list []EndpointOptions
	if err == nil {
		list, err = g.o.parse(g.o.File, now.data)
	}
	if err != nil {
		g.fileFails(err)
		return
	}
	w.list, w.used, w.err = list, now.data, ""
	g.tell("", "file of endpoints read", nil, false)
	if g.override == nil {
		g.aim(nil)
		g.change(clock.Nano(), nil)
	}
}
