package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestImportReadme runs what the README tells those who come from elsewhere, with the files that it shows.
func TestImportReadme(t *testing.T) {
	text, err := os.ReadFile("../../filters/wasm/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## Coming from Envoy or Traefik\n")
	if !ok {
		t.Fatal("no section")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	dir := t.TempDir()
	write := func(name string, data []byte) {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("plugin/tagger.wasm", passGuest())
	commands := 0
	for _, m := range regexp.MustCompile("(?s)```(yaml [^\n]+|console)\n(.*?)```").FindAllStringSubmatch(section, -1) {
		if name, file := strings.CutPrefix(m[1], "yaml "); file {
			write(name, []byte(m[2]))
			continue
		}
		for _, step := range strings.Split("\n"+m[2], "\n$ weir ")[1:] {
			commands++
			line, want, _ := strings.Cut(strings.TrimSuffix(step, "\n"), "\n")
			c := exec.Command(os.Args[0], strings.Fields(line)...)
			c.Dir, c.Env = dir, append(os.Environ(), asWeir+"=1")
			var out bytes.Buffer
			c.Stdout, c.Stderr = &out, &out
			if err := c.Run(); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			if have := strings.TrimSuffix(out.String(), "\n"); have != strings.TrimSuffix(want, "\n") {
				t.Errorf("%s says\n%s\nthe README says\n%s", line, have, want)
			}
		}
	}
	if commands != 3 {
		t.Errorf("%d commands", commands)
	}
}
