package node_test

import (
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

// TestNeedsRestart: what a reload can't change is refused and not ignored.
func TestNeedsRestart(t *testing.T) {
	r := coretest.Start(t, plain, nil, coretest.Options{Env: map[string]string{"UPSTREAM": "127.0.0.1:1"}})
	r.Write(strings.Replace(plain, "version: 1", "version: 1\nstate_dir: elsewhere", 1))
	if err := r.Node.Reload(); err == nil || !strings.HasSuffix(err.Error(), "weir.yaml: state_dir: another folder needs a restart") {
		t.Error(err)
	}
	r.Write(plain)
	if err := r.Node.Reload(); err != nil {
		t.Error(err)
	}
}
