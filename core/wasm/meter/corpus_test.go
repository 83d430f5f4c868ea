package meter_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm/meter"
)

// hostGo is the directory of the http-wasm host module, whose guests serve as a corpus.
func hostGo(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/http-wasm/http-wasm-host-go").Output()
	if err != nil || len(out) < 2 {
		t.Fatalf("find the module http-wasm-host-go, whose guests are the corpus: %v", err)
	}
	return string(out[:len(out)-1])
}

func corpus(t testing.TB) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	dir := hostGo(t)
	err := filepath.Walk(dir, func(p string, i os.FileInfo, err error) error {
		if err != nil || filepath.Ext(p) != ".wasm" {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		files[rel] = b
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// goGuest builds a reactor with the stock toolchain.
func goGuest(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "./testdata/goguest")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("stock Go cannot build the guest: %v\n%s", err, b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// validates reports what wazero's compiler says of a module.
func validates(ctx context.Context, b []byte) error {
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2))
	defer r.Close(ctx)
	_, err := r.CompileModule(ctx, b)
	return err
}

func TestCorpusValidates(t *testing.T) {
	ctx := context.Background()
	mods := corpus(t)
	mods["stock Go"] = goGuest(t)
	for name, b := range mods {
		out, info, err := meter.Rewrite(b, meter.Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := validates(ctx, out); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: %d → %d bytes, largest frame %d", name, len(b), len(out), info.MaxFrame)
	}
}
