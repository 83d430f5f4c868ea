package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirproxy/weir/core/config"
)

// asWeir in the environment makes the test binary be weir: a real process, for tests that need signals.
const asWeir = "WEIR_TEST_AS_WEIR"

func TestMain(m *testing.M) {
	if os.Getenv(asWeir) != "" {
		main()
	}
	testscript.Main(m, map[string]func(){"weir": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: setupScript, Cmds: filterCommands(t)})
}

// TestDocs loads every YAML block of every README: what a reader copies works.
func TestDocs(t *testing.T) {
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	found := 0
	err := filepath.WalkDir("../..", func(file string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == ".git" || d.Name() == "build" || d.Name() == "node_modules") {
			if err == nil {
				err = filepath.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(file, ".md") {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, m := range block.FindAllSubmatchIndex(text, -1) {
			found++
			line := 1 + strings.Count(string(text[:m[2]]), "\n")
			env := func(string) (string, bool) { return "0123456789abcdef0123456789abcdef", true }
			if _, err := config.Parse(file, text[m[2]:m[3]], env); err != nil {
				t.Errorf("%s: the block at line %d:\n%v", file, line, err)
			}
		}
		return nil
	})
	if err != nil || found == 0 {
		t.Errorf("%d blocks, %v", found, err)
	}
}

// TestNumbers holds the README's tables of numbers to those that the harness wrote last.
func TestNumbers(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	f := func(name string, least int, skip string) {
		t.Helper()
		results, err := os.ReadFile("../../bench/results/" + name)
		if err != nil {
			t.Fatal(err)
		}
		rows, shown := 0, true
		for line := range strings.Lines(string(results)) {
			if strings.HasPrefix(line, "## ") {
				shown = skip == "" || !strings.HasPrefix(line, skip)
			}
			if !shown || !strings.HasPrefix(line, "| ") {
				continue
			}
			rows++
			if !strings.Contains(string(readme), line) {
				t.Errorf("the README lacks the row %s", line)
			}
		}
		if rows < least {
			t.Errorf("%s: %d rows", name, rows)
		}
	}
	f("plain.md", 4, "")
	f("filters.md", 8, "## Chains")
}
