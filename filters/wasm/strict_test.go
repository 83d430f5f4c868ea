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
	t.Run("calm", func(t *testing.T) { strictCalm(t, modules) })
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
func strictCalm(t *testing.T, modules map[string][]byte) {
	h := serve(t, "", fmt.Sprintf(strictYAML, "calm"), modules, http.HandlerFunc(withTrailers), nil)
	for _, hold := range append([]string{"none"}, strictPhases[4:10]...) {
		for _, request := range []string{
			"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nHold: %s\r\n\r\n",
			"POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nHold: %s\r\nContent-Length: 5\r\n\r\nhello",
			"POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nHold: %s\r\nTransfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-t: 1\r\n\r\n",
		} {
			if status := h.status(fmt.Sprintf(request, hold)); status != 200 {
				t.Errorf("%.20q… held in %s: %d", request, hold, status)
			}
		}
	}
	h.strictEnd()
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
	h.T.Logf("%-17s %6d calls", "all", all)
	h.strictWrongs()
	h.sound()
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
