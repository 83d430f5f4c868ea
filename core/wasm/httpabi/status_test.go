package httpabi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wasm/asm"
)

var _ filter.Timed = (*Filter)(nil)

// What the status page says is what has happened.
func TestStatus(t *testing.T) {
	flt := both(t, func(p *program) []byte { return asm.Cat(armed(p, asm.Unreachable), next) }, nothing,
		func(o *Options) { o.Config, o.Instances, o.Memory = []byte("secret"), 7, 1<<20 })
	phases := func(s filter.Status) map[string]uint64 {
		m := map[string]uint64{}
		for _, p := range s.Phases {
			m[p.Phase] = p.Calls
			if p.P50 > p.P99 || p.Phase == "handle_request" && p.CPU <= 0 {
				t.Errorf("%+v", p)
			}
		}
		return m
	}
	s := flt.Status()
	if s.State != filter.StateServing || s.Until != nil || s.Last != nil || s.ABI != "http-wasm" || s.Name != "test" ||
		s.Instances != (filter.Instances{Live: 1, Max: 7, Made: 1}) || s.Memory != (filter.Memory{Now: s.Memory.High, High: s.Memory.High, Cap: 1 << 20}) ||
		s.Memory.High == 0 || *s.Use != (filter.Use{}) || len(s.Failures) != 0 || s.Budget != (filter.Budget{Call: flt.o.CPU, Stream: flt.o.CPUTotal, Start: flt.o.Start}) {
		t.Errorf("%+v", s)
	}
	if b, _ := json.Marshal(s); strings.Contains(string(b), "secret") || s.Config != filter.ConfigMark("secret") {
		t.Error("the configuration is shown")
	}
	before := phases(s) // the request made up to try it
	x := ask(t, "GET", "/")
	request(t, flt, x, filter.Continue)
	if s := flt.Status(); s.Use.InUse != 1 {
		t.Errorf("%+v", s.Use)
	}
	reply(x, 200, "")
	response(t, flt, x, false)
	for range 5 {
		_, _ = flt.Request(ask(t, "GET", "/", "armed: 1"), 0)
	}
	s = flt.Status()
	after := phases(s)
	if after["handle_request"] != before["handle_request"]+6 || after["handle_response"] != before["handle_response"]+1 || after["start"] != 5 {
		t.Errorf("%v, then %v", before, after)
	}
	if s.State != filter.StateStopped || s.Until == nil || time.Until(*s.Until) > time.Second || s.Failures["trap"] != 5 || s.Instances.Discarded != 5 {
		t.Errorf("%+v", s)
	}
	if s.Last == nil || s.Last.Kind != "trap" || !strings.Contains(s.Last.Error, "unreachable") || len(s.Last.Stack) == 0 || s.Reason != s.Last.Error || time.Since(s.Last.Time) > time.Minute {
		t.Errorf("%+v %q", s.Last, s.Reason)
	}
	if flt.Spread(int(abi.PhaseTick)) != nil || flt.Spread(int(abi.PhaseHandleRequest)) == nil {
		t.Error("phases that were, and were not")
	}
}

// An import that nobody offers is named.
func TestStatusLinks(t *testing.T) {
	p := &program{host: map[string]uint32{}, heap: 16}
	p.Memory(1, 1)
	p.Import("env", "launch", nil, nil)
	flt := open(t, p.build(next, nil))
	if l := flt.Status().Links; l == nil || len(l.Stubbed) != 1 || l.Stubbed[0] != "env.launch" {
		t.Errorf("%+v", l)
	}
}
