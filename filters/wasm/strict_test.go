package wasm_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/coretest/guest"
)

// strictPhases are the callbacks in which the strict guest calls everything.
var strictPhases = strings.Fields(`create_root start configure create request_headers request_body request_trailers
	response_headers response_body response_trailers tick call_response queue_ready log done delete done_root delete_root`)

// TestStrict runs a guest that calls every function of the host in every callback, with arguments that make sense, odd ones
// and garbage, and traps if it gets a status that a strict SDK does not survive.
func TestStrict(t *testing.T) {
	modules := map[string][]byte{"strict.wasm": guest.C(t, "testdata/c/strict.c"), "filter.wasm": guest.C(t, "testdata/c/filter.c")}
	t.Run("HTTP/1.1", func(t *testing.T) { strictCalm(t, modules, strict1) })
	t.Run("HTTP/2", func(t *testing.T) { strictCalm(t, modules, strict2) })
	t.Run("wild", func(t *testing.T) { strictWild(t, modules) })
}

const strictYAML = `
wasm:
  strict: {file: strict.wasm, instances: 1, vm_id: strict, calls: [web], config: %s, ` + unhurried + `}
` + strictRest + `
  - {match: {path: /*}, auth: none, wasm: [strict], upstream: web, metadata: {a: {b: c}}}
`

// strictRest is what stays when the strict filter goes: another of its vm_id keeps the metrics that it has counted.
const strictRest = `
  keeper: {file: filter.wasm, vm_id: strict, calls: [web], ` + unhurried + `}
upstreams: {web: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {match: {path: /kept}, auth: none, wasm: [keeper], upstream: web}
  - {match: {path: /free}, auth: none, upstream: web}`

// withTrailers answers with a body in pieces and a trailer section.
func withTrailers(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Trailer", "X-Sum")
	_, _ = io.WriteString(w, "one ")
	w.(http.Flusher).Flush()
	_, _ = io.WriteString(w, "two")
	w.Header().Set("X-Sum", "7")
}

// strictCalm leaves out what ends a stream; so every request is answered, those that are held in a phase until a tick, too.
func strictCalm(t *testing.T, modules map[string][]byte, send func(h *house, method, hold string, trailer bool) int) {
	h := serve(t, "", fmt.Sprintf(strictYAML, "calm"), modules, http.HandlerFunc(withTrailers), nil)
	for _, hold := range append([]string{"none"}, strictPhases[4:10]...) {
		for _, status := range []int{send(h, "GET", hold, false), send(h, "POST", hold, false), send(h, "POST", hold, true)} {
			if status != 200 {
				t.Errorf("held in %s: %d", hold, status)
			}
		}
	}
	h.strictEnd()
}

// strict1 sends a request that is to be held in a phase: without a body, with one of known length, or in pieces and with a
// trailer section.
func strict1(h *house, method, hold string, trailer bool) int {
	rest := "\r\n"
	switch {
	case trailer:
		rest = "Transfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-t: 1\r\n\r\n"
	case method == "POST":
		rest = "Content-Length: 5\r\n\r\nhello"
	}
	return h.status(method + " /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nHold: " + hold + "\r\n" + rest)
}

// strict2 is strict1 in HTTP/2.
func strict2(h *house, method, hold string, trailer bool) int {
	h.T.Helper()
	tr := &http.Transport{Protocols: &http.Protocols{}}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	var body io.Reader
	if method == "POST" {
		body = strings.NewReader("hello")
	}
	if trailer {
		body = io.MultiReader(body) // of which the length is not known
	}
	r, err := http.NewRequest(method, h.URL+"/a", body)
	if err != nil {
		h.T.Fatal(err)
	}
	r.Header.Set("Hold", hold)
	if trailer {
		r.Trailer = http.Header{"X-T": {"1"}}
	}
	answer, err := (&http.Client{Transport: tr, Timeout: 20 * time.Second}).Do(r)
	if err != nil {
		h.T.Errorf("%s held in %s: %v", method, hold, err)
		return 0
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil {
		h.T.Errorf("%s held in %s: %q, %v", method, hold, text, err)
	}
	return answer.StatusCode
}

// strictWild also answers, resets and touches other streams: what becomes of its requests is open, but nothing traps.
func strictWild(t *testing.T, modules map[string][]byte) {
	h := serve(t, "", fmt.Sprintf(strictYAML, "wild"), modules, http.HandlerFunc(withTrailers), nil)
	const post = "POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nHold: %s\r\nEnds: %s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-t: 1\r\n\r\n"
	for _, phase := range append([]string{"none"}, strictPhases[3:16]...) {
		h.status(fmt.Sprintf(post, "none", phase))
		h.status(fmt.Sprintf(post, phase, "none"))
		h.status(fmt.Sprintf(post, phase, phase))
		h.is("GET", "/free", "", 200, "one two")
	}
	h.strictEnd()
}

// status sends a request and gives the status of what comes back; 0 for an end without an answer.
func (h *house) status(request string) int {
	h.T.Helper()
	c := h.Dial()
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		h.T.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	answer, _, err := coretest.ReadResponse(bufio.NewReader(c), "GET")
	if err != nil {
		return 0
	}
	return answer.StatusCode
}

// dropFilters reloads without any, which ends their plugins, and waits for that.
func (h *house) dropFilters() {
	h.T.Helper()
	h.Write(head + `routes: [{match: {path: /*}, auth: none, respond: {status: 200}}]`)
	if err := h.Node.Reload(); err != nil {
		h.T.Fatal(err)
	}
	h.await("filters to be given up", func() bool { return len(h.Set.Wasm.Filters()) == 0 })
}

var (
	strictCount = regexp.MustCompile(`(?m)strict_calls_in_(\w+?)(?:\{[^}]*\})? (\d+)$`)
	strictWrong = regexp.MustCompile(`strict_wrong_\w+`)
)

// strictCalls is how many calls the guest has made, by phase.
func (h *house) strictCalls() map[string]int {
	calls := map[string]int{}
	for _, m := range strictCount.FindAllStringSubmatch(string(h.Node.Metrics()), -1) {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			h.T.Fatal(err)
		}
		calls[m[1]] += n
	}
	return calls
}

func (h *house) strictWrongs() {
	h.T.Helper()
	for _, wrong := range strictWrong.FindAllString(string(h.Node.Metrics()), -1) {
		h.T.Error(wrong)
	}
}

// strictEnd waits for what comes by itself, ends the filter, and looks at what it has told: that it was everywhere, and that
// nothing was wrong.
func (h *house) strictEnd() {
	h.T.Helper()
	for _, phase := range []string{"tick", "call_response", "queue_ready"} {
		h.await(phase, func() bool { return h.strictCalls()[phase] > 0 })
	}
	h.Write(head + "wasm:\n" + strictRest)
	if err := h.Node.Reload(); err != nil {
		h.T.Fatal(err)
	}
	h.await("the plugin's end", func() bool { return h.strictCalls()["delete_root"] > 0 && len(h.Set.Wasm.Filters()) == 1 })
	calls, all := h.strictCalls(), 0
	for _, phase := range strictPhases {
		if calls[phase] < 300 {
			h.T.Errorf("%d calls in %s", calls[phase], phase)
		}
		h.T.Logf("%-17s %6d calls", phase, calls[phase])
		all += calls[phase]
	}
	h.T.Logf("%-17s %6d calls of %d functions", "all", all, len(functions(h.T)))
	h.strictWrongs()
	h.sound()
}
