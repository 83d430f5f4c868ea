package config

import (
	"errors"
	"io"
	"os"
	"time"
)

const (
	// quiet is how long a file must have been left alone: what an editor or a copy has written in part may well be a
	// configuration, of fewer routes. A file that takes its place by a rename is whole anyway, and waits for no longer.
	quiet = 50 * time.Millisecond
	// patience is how long a file may go on being written.
	patience = 5 * time.Second
)

var errWritten = errors.New("the file is being written all the time; try again when it is whole")

// settled reads the file at path once nobody is writing it, and gives up when that has gone on for longer than patience.
func settled(path string, patience time.Duration) ([]byte, error) {
	for began := time.Now(); ; {
		data, wait, err := readOnce(path)
		if err != nil || wait == 0 {
			return data, err
		}
		if time.Since(began) > patience {
			return nil, errWritten
		}
		time.Sleep(wait)
	}
}

// readOnce reads the file, and says how long to wait before another look if somebody may still be writing it. Pipes and the
// like have an end instead.
func readOnce(path string) (data []byte, wait time.Duration, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if data, err = io.ReadAll(f); err != nil {
		return nil, 0, err
	}
	after, err := f.Stat()
	if err != nil || !after.Mode().IsRegular() {
		return data, 0, err
	}
	// The clock of a file server may be a little ahead.
	if age := time.Since(after.ModTime()); age < quiet && age > -2*quiet {
		return data, quiet / 5, nil
	}
	return data, 0, nil
}
