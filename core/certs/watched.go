package certs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	// maxFile is far above any chain or bundle of roots.
	maxFile = 4 << 20
	// racy is how long after a change a file's metadata may look the same as before the next one: file systems keep times
	// in steps, of up to two seconds (FAT).
	racy = 3 * time.Second
)

// watched is the content of files that belong together. It is not for concurrent use.
type watched struct {
	paths []string
	infos []os.FileInfo // as of the last reading; nil for a file that was not there
	read  time.Time

	last  digest // what was read last
	taken digest // what is in use
	told  digest // what was found to be wrong
}

type digest [sha256.Size]byte

// contents is one reading of all files. Those that could not be read have an error.
type contents struct {
	data [][]byte
	err  error
	sum  digest
}

// load reads the files as they are now.
func (w *watched) load(now time.Time) contents {
	c := contents{data: make([][]byte, len(w.paths))}
	w.infos = make([]os.FileInfo, len(w.paths))
	w.read = now
	sum := sha256.New()
	for i, path := range w.paths {
		var err error
		c.data[i], w.infos[i], err = readFile(path)
		if err != nil && c.err == nil {
			c.err = err
		}
		one := sha256.Sum256(c.data[i])
		_, _ = sum.Write(one[:])
		_, _ = fmt.Fprint(sum, err)
	}
	sum.Sum(c.sum[:0])
	w.last = c.sum
	return c
}

// news reads the files if they may have changed, and gives contents that are neither in use nor known to be wrong. They
// are given when two looks in a row have found them the same: before that somebody may still be writing.
func (w *watched) news(now time.Time) (contents, bool) {
	before := w.last
	settled := before == w.taken || before == w.told
	if settled && !w.touched() {
		return contents{}, false
	}
	c := w.load(now)
	if c.sum == w.taken {
		w.told = digest{}
	}
	return c, c.sum == before && c.sum != w.taken && c.sum != w.told
}

// touched reports whether a file is another than the one that was read, or may be.
func (w *watched) touched() bool {
	for i, path := range w.paths {
		was := w.infos[i]
		is, err := os.Stat(path)
		if err != nil {
			if was != nil {
				return true
			}
			continue
		}
		if was == nil || !os.SameFile(was, is) || was.Size() != is.Size() || !was.ModTime().Equal(is.ModTime()) ||
			w.read.Sub(is.ModTime()) < racy {
			return true
		}
	}
	return false
}

// restored reports whether the files hold what is in use, after the last reading.
func (w *watched) restored() bool { return w.last == w.taken }

func (w *watched) take(c contents)   { w.taken, w.told = c.sum, digest{} }
func (w *watched) refuse(c contents) { w.told = c.sum }

// forget makes what was refused news again.
func (w *watched) forget() { w.told = digest{} }

func readFile(path string) ([]byte, os.FileInfo, error) {
	// Opening a pipe would wait for its other end.
	if info, err := os.Stat(path); err != nil {
		return nil, nil, err
	} else if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxFile>>20)
	}
	return data, info, err
}

// exposed reports whether others than its owner may read the file.
func exposed(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o077 != 0
}

// missing reports whether err says that there is no such file.
func missing(err error) bool { return errors.Is(err, os.ErrNotExist) }
