package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestHalfWrittenFile: the first half is a configuration, and is not taken for one while the second is on its way.
func TestHalfWrittenFile(t *testing.T) {
	const head = "version: 1\nlisteners: [{address: \":1\"}]\nroutes:\n"
	const half = "  - {name: a, match: {path: /a}, auth: none, respond: {status: 200}}\n"
	const other = "  - {name: b, match: {path: /b}, auth: none, respond: {status: 200}}\n"
	path := filepath.Join(t.TempDir(), "weir.yaml")
	for late := true; late; { // on a busy machine the second half may come when the first has been left alone for long
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(head + half); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		written := make(chan time.Duration)
		go func() {
			time.Sleep(quiet / 5)
			_, _ = f.WriteString(other)
			written <- time.Since(began)
		}()
		spec, err := Load(path, nil)
		took := time.Since(began)
		late = <-written > quiet
		f.Close()
		if !late && (err != nil || len(spec.Routes) != 2 || took < quiet) {
			t.Errorf("%d routes after %s, %v", len(spec.Routes), took, err)
		}
	}
	before := time.Now().Add(-time.Minute)
	if err := os.Chtimes(path, before, before); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := Load(path, nil); err != nil || time.Since(began) > quiet {
		t.Errorf("a file that was left alone: %v after %s", err, time.Since(began))
	}
	if _, err := Load(path+".none", nil); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestEndlesslyWrittenFile is refused when patience ends, for nobody knows what it will be.
func TestEndlesslyWrittenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(path, []byte("version: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Add(quiet) // by the clock of a file server, which is a little ahead
	if err := os.Chtimes(path, now, now); err != nil {
		t.Fatal(err)
	}
	if _, err := settled(path, 0); !errors.Is(err, errWritten) {
		t.Error(err)
	}
}
