package importer

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/config"
)

var update = flag.Bool("update", false, "write the golden files")

// load reads all files of a folder but the golden ones, by name.
func load(t testing.TB, dir string) []config.Foreign {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var docs []config.Foreign
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "out.") {
			continue
		}
		file := filepath.Join(dir, e.Name())
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list, err := config.ParseForeign(file, data)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, list...)
	}
	return docs
}

func importDir(t testing.TB, dir string) (*Result, error) {
	if strings.HasPrefix(filepath.Base(dir), "envoy") {
		return Envoy(load(t, dir))
	}
	return Traefik(load(t, dir), "testdata")
}

// Each folder is an import: out.weir.yaml and out.report.txt, or out.error.txt.
func TestGolden(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*-*")
	if err != nil || len(dirs) < 10 {
		t.Fatal(dirs, err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			r, err := importDir(t, dir)
			if err != nil {
				golden(t, filepath.Join(dir, "out.error.txt"), []byte(err.Error()+"\n"))
				return
			}
			golden(t, filepath.Join(dir, "out.weir.yaml"), r.YAML)
			var b bytes.Buffer
			lost := false
			for _, n := range r.Report {
				fmt.Fprintln(&b, strings.TrimPrefix(n.String(), dir+"/"))
				lost = lost || n.Level == NotTranslated
				if n.Pos.Line < 1 || n.Pos.Column < 1 || n.Pos.File == "" {
					t.Errorf("nowhere: %v", n)
				}
			}
			if lost != r.Lost() {
				t.Error("Lost is wrong")
			}
			golden(t, filepath.Join(dir, "out.report.txt"), b.Bytes())
			// What weir reads is what stands there.
			if _, err := parse(r.YAML); err != nil {
				t.Error(err)
			}
		})
	}
}

func golden(t *testing.T, file string, have []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, have, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s:\nhave\n%s\nwant\n%s", file, have, want)
	}
}
