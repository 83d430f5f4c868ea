package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

var testEnv = map[string]string{
	"PORT":     "8080",
	"EMPTY":    "",
	"NETS":     "10.0.0.0/8, 192.168.0.0/16,",
	"FIELDS":   "50",
	"YES":      "true",
	"NESTED":   "${PORT} $$ ${request.id}",
	"TOKEN":    "an-admin-token",
	"SECRET":   "0123456789abcdef0123456789abcdef",
	"INSTANCE": "4",
}

func lookup(name string) (string, bool) {
	s, ok := testEnv[name]
	return s, ok
}

// Good files become the Spec in *.json, bad ones the errors in *.bad.txt.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if file == "testdata/contract.yaml" {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			spec, err := Load(file, lookup)
			if bad := strings.HasSuffix(file, ".bad.yaml"); bad != (err != nil) {
				t.Fatalf("error: %v", err)
			}
			if err != nil {
				golden(t, strings.TrimSuffix(file, ".yaml")+".txt", []byte(err.Error()+"\n"))
				return
			}
			out, err := json.MarshalIndent(spec, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".json", append(out, '\n'))
		})
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s is not what was printed (go test -update writes it):\n%s", file, got)
	}
}

// Every key of the contract is known by name: what is refused, and listed in contract.txt, is refused because it comes
// later, or because the contract leaves out what it refers to.
func TestContract(t *testing.T) {
	_, err := Load("testdata/contract.yaml", lookup)
	var problems *Problems
	if !errors.As(err, &problems) {
		t.Fatalf("error: %v", err)
	}
	golden(t, "testdata/contract.txt", []byte(err.Error()+"\n"))
	for _, p := range problems.List {
		switch {
		case strings.HasSuffix(p.Message, "is not supported yet"):
		case strings.HasPrefix(p.Message, `there is no upstream "standby"`), p.Message == `there is no upstream "auth"`:
		case strings.HasPrefix(p.Message, "${path.id}: the path of the route has no segment {id}"):
		default:
			t.Error(p.Error())
		}
	}
}
