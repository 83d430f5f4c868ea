package proxyabi

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// What a filter logs and how it fails stands under its own name in the log, also where another has opened the VM; and the log
// tells when it is not called any more.
func TestNamesInLog(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_request_headers", p.host("proxy_log", num(2), p.text("hello")), armed(p, asm.Unreachable), num(0))
	var b bytes.Buffer
	vm, _ := open(t, p, Options{Log: zerolog.New(zerolog.SyncWriter(&b)).Level(zerolog.InfoLevel)}, PluginOptions{Name: "one"})
	two, err := vm.Add(PluginOptions{Name: "two"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = two.Close() })
	f := at(t, two, Site{})
	x := ask(t, 0)
	request(t, f, x, filter.Continue)
	exchange.Release(x)
	coretest.Eventually(t, "the filter to be stopped", func() bool {
		x := arm(ask(t, 0))
		defer exchange.Release(x)
		_, err := f.Request(x, 0)
		return err == errStopped && f.Stopped() == 1
	})
	_ = two.Close()
	_ = vm.Close() // nobody writes any more
	log := b.String()
	for _, want := range []string{
		`{"level":"info","filter":"two","request_id":`, `"message":"hello"}`, `{"level":"warn","filter":"two","error":"guest_failed: guest trapped: unreachable"`,
		`"for":"1s","message":"filter failed too often: it is not called for a while, then tried with one request"}`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in\n%s", want, log)
		}
	}
}
