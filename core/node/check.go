package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/weirproxy/weir/core/config"
)

// checkFiles adds to problems what is wrong with files and folders that s names and that building a plan does not open, or
// that a node opens later. A place that problems speaks of already is not spoken of again.
func checkFiles(s *config.Spec, problems *config.Problems) {
	told := problems.List
	check := func(pos config.Pos, err error) {
		if err != nil && !slices.ContainsFunc(told, func(p config.Problem) bool { return p.Pos() == pos }) {
			problems.Add(pos.Errorf("%s", err))
		}
	}
	for i := range s.Listeners {
		t := s.Listeners[i].TLS
		if t == nil {
			continue
		}
		if c := t.ClientAuth; c != nil && c.CA != "" {
			check(c.Pos, readable(c.CA))
		}
		if k := t.TicketKeys; k != nil && k.Rotate == 0 {
			check(k.Pos, readable(k.File))
		} else if k != nil {
			check(k.Pos, writable(k.File))
		}
		if a := t.ACME; a != nil {
			check(a.Pos, mayTakeFiles(s.StateDir))
			if a.CA != "" {
				check(a.Pos, readable(a.CA))
			}
		}
	}
	if o := s.AccessLog.Output; o != config.AccessLogOff && o != config.AccessLogStdout {
		check(s.AccessLog.Pos, writable(o))
	}
}

// readable opens the file at path and closes it.
func readable(path string) error {
	return opened(path, os.O_RDONLY)
}

// writable says whether path can be appended to, or made. It leaves no file behind.
func writable(path string) error {
	err := opened(path, os.O_WRONLY|os.O_APPEND)
	if errors.Is(err, fs.ErrNotExist) {
		return takesFiles(filepath.Dir(path))
	}
	return err
}

// opened opens path, which is no folder, and closes it.
func opened(path string, flag int) error {
	// A pipe would wait for its other end.
	if info, err := os.Stat(path); err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return fmt.Errorf("open %s: is a directory", path)
	}
	return nil
}

// mayTakeFiles is takesFiles for a folder that may still have to be made itself.
func mayTakeFiles(dir string) error {
	for {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir {
			return takesFiles(dir)
		}
		dir = filepath.Dir(dir)
	}
}

// takesFiles makes a file in dir and removes it: nothing else takes every kind of permission and file system into account.
func takesFiles(dir string) error {
	f, err := os.CreateTemp(dir, ".weir-check-*")
	if err == nil {
		return errors.Join(f.Close(), os.Remove(f.Name()))
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return fmt.Errorf("make a file in %s: %w", dir, err)
}
