package wasm_test

import (
	"encoding/json"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/filters"
)

// house is a node with filters, and what they say.
type house struct {
	*coretest.Rig
	Set *filters.Set
	log *coretest.Buffer
}

// serve starts a node whose modules are those given, by the names of their files. In yaml ${UPSTREAM} is the handler. state
// keeps compiled modules between nodes; empty: nowhere. The node and its filters end with the test.
func serve(t testing.TB, state, yaml string, modules map[string][]byte, handler http.Handler, env map[string]string) *house {
	t.Helper()
	return serveAll(t, state, head+yaml, modules, handler, env)
}

// serveAll is serve for a whole configuration.
func serveAll(t testing.TB, state, yaml string, modules map[string][]byte, handler http.Handler, env map[string]string) *house {
	t.Helper()
	h := &house{log: &coretest.Buffer{}}
	h.Set = filters.Open(filters.Options{StateDir: state, Log: zerolog.New(h.log), Open: func(file string) ([]byte, error) {
		return modules[file[strings.LastIndexByte(file, '/')+1:]], nil
	}})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of filters:\n%s", h.log)
		}
		coretest.Eventually(t, "filters to be given up", func() bool { return len(h.Set.Wasm.Filters()) == 0 })
		if err := h.Set.Close(); err != nil {
			t.Error(err)
		}
	})
	if handler == nil {
		handler = http.NotFoundHandler()
	}
	h.Rig = coretest.Start(t, yaml, handler, coretest.Options{Kinds: h.Set.Standard(), Filters: h.Set.Wasm.Filters, Figures: h.Set.Wasm.AppendMetrics, Env: env})
	return h
}

const head = `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0", h2c: true}]
`

// unhurried are the bounds of filters whose speed is not what a test is about.
const unhurried = `cpu: 5s, cpu_total: 60s, start: 30s`

// line is one line of the log of filters.
type line struct {
	Level, Filter, Message, Error string
	RequestID                     string `json:"request_id"`
	raw                           string
}

// lines leaves out those of the requests by which a node tries a filter before it uses it.
func (h *house) lines() []line {
	var all []line
	for text := range strings.Lines(h.log.String()) {
		var l line
		if json.Unmarshal([]byte(text), &l) == nil && l.Level != "debug" { // the last may be half written
			l.raw = text
			all = append(all, l)
		}
	}
	return all
}

// said counts the lines whose message contains a text.
func (h *house) said(text string) (n int) {
	for _, l := range h.lines() {
		if strings.Contains(l.Message, text) {
			n++
		}
	}
	return n
}

// hears waits until every text is in a message.
func (h *house) hears(texts ...string) {
	h.T.Helper()
	for _, text := range texts {
		h.await(text, func() bool { return h.said(text) > 0 })
	}
}

// await is coretest.Eventually which shows the process log when it fails.
func (h *house) await(what string, f func() bool) {
	h.T.Helper()
	held := false
	defer func() {
		if !held {
			h.T.Logf("process log:\n%s", h.Log)
		}
	}()
	coretest.Eventually(h.T, what, f)
	held = true
}

// sound fails the test if a filter has failed or has said that something went wrong.
func (h *house) sound() {
	h.T.Helper()
	for _, l := range h.lines() {
		if l.Error != "" || strings.Contains(l.Message, "WRONG: ") || strings.Contains(l.Message, "filter failed") {
			h.T.Errorf("a filter failed: %s", l.raw)
		}
	}
	if strings.Contains(h.Log.String(), "panic") {
		h.T.Errorf("panic:\n%s", h.Log)
	}
}

// is asks and compares status and body.
func (h *house) is(method, path, body string, status int, want string, header ...string) http.Header {
	h.T.Helper()
	have, got, text := h.Do(method, path, body, header...)
	if have != status || text != want {
		h.T.Errorf("%s %s %v: have %d %q, want %d %q", method, path, header, have, text, status, want)
	}
	return got
}

// metric waits until the metrics have a line with a text in it.
func (h *house) metric(text string) {
	h.T.Helper()
	held := false
	defer func() {
		if !held {
			h.T.Logf("metrics of filters:\n%s", strings.Join(regexp.MustCompile(`(?m)^.*(gate|custom|strict|odd).*$`).FindAllString(string(h.Node.Metrics()), -1), "\n"))
		}
	}()
	h.await(text, func() bool { return strings.Contains(string(h.Node.Metrics()), text) })
	held = true
}

func newListener(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
