package plan

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// A flood of failures is a few lines, and their number is told by the first of a later second.
func TestFaultLog(t *testing.T) {
	var b bytes.Buffer
	log := zerolog.New(&b)
	var f FaultLog
	for range 1000 {
		if e := f.Begin(&log); e != nil {
			e.Msg("request failed")
		}
	}
	lines, lost := strings.Count(b.String(), `"request failed"`), f.lost.Load()
	if lines < faultsPerSecond || lines > 900 || lost == 0 && !strings.Contains(b.String(), `"requests":`) {
		t.Errorf("%d lines, %d not told", lines, lost)
	}
}
