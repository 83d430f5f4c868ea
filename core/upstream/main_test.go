package upstream

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain looks for goroutines that outlived their registry.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually waits until f holds, and fails t if it does not within ten seconds. That of coretest can't be used here: it
// imports this package.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("not within 10 s: %s", what)
}
