package core_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/weirproxy/weir/"

// floors is the house: a package may import those of lower floors. A folder inside a package's folder stands on its floor and is its own.
var floors = []string{
	"unit fault pool clock metric",
	"netio socket",
	"config exchange",
	"filter wire importer",
	"h2",
	"route upstream wasm identity limit observe certs",
	"plan",
	"proxy",
	"server admin",
	"node",
}

// only says which packages may see a library: its type must not spread. A name with a slash is a folder inside of a package's.
var only = map[string]string{
	"github.com/goccy/go-yaml":           "config",
	"github.com/tetratelabs/wazero":      "wasm",
	"github.com/lestrrat-go/jwx":         "identity",
	"github.com/valyala/fasthttp":        "exchange wire upstream server",
	"github.com/VictoriaMetrics/metrics": "metric observe",
	"github.com/pires/go-proxyproto":     "server upstream",
	"github.com/coreos/go-systemd":       "socket",
	"github.com/caddyserver/certmagic":   "certs",
	"github.com/mholt/acmez":             "certs",
	"go.uber.org/zap":                    "certs",
	"net/http":                           "admin certs wasm/source",
	"oras.land/oras-go":                  "wasm/source",
	"github.com/opencontainers":          "wasm/source",
	"golang.org/x/net/http2":             "h2",
}

// beside may be imported by tests only, and imports what it likes.
const beside = "coretest"

func TestFloors(t *testing.T) {
	for _, p := range violations(t, ".") {
		t.Error(p)
	}
}

// TestFilterFloors: a filter imports what stands below the engines, and the one engine that bears its own name.
func TestFilterFloors(t *testing.T) {
	for _, p := range filterViolations(t, "../filters") {
		t.Error(p)
	}
	got := strings.Join(filterViolations(t, "testdata/brokenfilters"), "\n")
	for _, want := range []string{"cors/cors.go imports core/limit", "cors/cors.go imports core/plan"} {
		if !strings.Contains(got, want) {
			t.Errorf("not caught: %s\ngot:\n%s", want, got)
		}
	}
	if strings.Contains(got, "limit/limit.go") {
		t.Errorf("a filter may import the engine it wraps:\n%s", got)
	}
}

// filterViolations lists what filters below root import and must not.
func filterViolations(t *testing.T, root string) (all []string) {
	files, err := filepath.Glob(filepath.Join(root, "*", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	floorOf := floorNumbers()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(root, file)
		kind := filepath.Base(filepath.Dir(file))
		for _, imp := range f.Imports {
			name, _ := strconv.Unquote(imp.Path.Value)
			own, ok := strings.CutPrefix(name, module+"core/")
			if !ok {
				continue
			}
			to, _, _ := strings.Cut(own, "/")
			if floorOf[to] >= floorOf["wasm"] && to != kind {
				all = append(all, fmt.Sprintf("%s imports core/%s", filepath.ToSlash(rel), to))
			}
		}
	}
	return all
}

// TestFloorsCatches proves that the rule can fail: the fixture breaks it in every way there is.
func TestFloorsCatches(t *testing.T) {
	got := strings.Join(violations(t, "testdata/broken"), "\n")
	for _, want := range []string{
		"unit/unit.go imports core/config, which is not on a lower floor",
		"limit/limit.go imports core/route, which is not on a lower floor",
		"limit/limit.go imports filters, which only cmd and tests may",
		"limit/limit.go imports gopkg github.com/goccy/go-yaml/ast, which only config may",
		"wasm/wasm.go imports gopkg oras.land/oras-go/v2, which only wasm/source may",
		"plan/plan.go imports core/coretest, which only tests may",
		"attic/attic.go is on no floor",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("not caught: %s\ngot:\n%s", want, got)
		}
	}
}

// violations lists what breaks the rule below root.
func violations(t *testing.T, root string) (all []string) {
	floorOf := floorNumbers()
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && d.Name() == "testdata" && file != root {
			if err == nil {
				err = fs.SkipDir
			}
			return err
		}
		rel, _ := filepath.Rel(root, file)
		pkg, _, inPackage := strings.Cut(filepath.ToSlash(rel), "/")
		if d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") || !inPackage || pkg == beside {
			return nil
		}
		floor, known := floorOf[pkg]
		if !known {
			all = append(all, rel+" is on no floor")
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			name, _ := strconv.Unquote(imp.Path.Value)
			if p := check(pkg, path.Dir(filepath.ToSlash(rel)), floor, name, floorOf); p != "" {
				all = append(all, fmt.Sprintf("%s imports %s", filepath.ToSlash(rel), p))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func floorNumbers() map[string]int {
	floorOf := map[string]int{}
	for n, f := range floors {
		for _, p := range strings.Fields(f) {
			floorOf[p] = n
		}
	}
	return floorOf
}

// check says what is wrong with an import of name in a folder of pkg; "" if nothing is.
func check(pkg, folder string, floor int, name string, floorOf map[string]int) string {
	for library, may := range only {
		who := strings.Fields(may)
		if (name == library || strings.HasPrefix(name, library+"/")) && !slices.Contains(who, pkg) && !slices.Contains(who, folder) {
			return "gopkg " + name + ", which only " + may + " may"
		}
	}
	own, ok := strings.CutPrefix(name, module)
	if !ok {
		return ""
	}
	top, rest, _ := strings.Cut(own, "/")
	if top != "core" {
		return own + ", which only cmd and tests may"
	}
	to := strings.Split(rest, "/")[0]
	switch n, known := floorOf[to]; {
	case to == pkg:
		return ""
	case to == beside:
		return path.Join(top, to) + ", which only tests may"
	case !known || n >= floor:
		return path.Join(top, to) + ", which is not on a lower floor"
	}
	return ""
}
