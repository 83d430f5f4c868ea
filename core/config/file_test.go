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
	path := filepath.Join(t.TempDir(), "weir.yaml")
	const head = "version: 1\nlisteners: [{address: \":1\"}]\nroutes:\n"
	const half = "  - {name: a, match: {path: /a}, auth: none, respond: {status: 200}}\n"
	const other = "  - {name: b, match: {path: /b}, auth: none, respond: {status: 200}}\n"
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(head + half); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(quiet/5, func() { _, _ = f.WriteString(other) })
	began := time.Now()
	spec, err := Load(path, nil)
	if err != nil || len(spec.Routes) != 2 {
		t.Errorf("%d routes, %v", len(spec.Routes), err)
	}
	if took := time.Since(began); took < quiet {
		t.Errorf("after %s", took)
	}
	began = time.Now()
	if _, err := Load(path, nil); err != nil || time.Since(began) > quiet {
		t.Errorf("a file that was left alone: %v after %s", err, time.Since(began))
	}
	if _, err := Load(path+".none", nil); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
