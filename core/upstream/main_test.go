package upstream

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain looks for goroutines that outlived their registry.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
