package wasm_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/coretest/guest"
)

// functions is, of each function of the host in the order of the guest's table, what its parameters are.
func functions(t testing.TB) []string {
	t.Helper()
	source, err := os.ReadFile("testdata/c/proxy.h")
	if err != nil {
		t.Fatal(err)
	}
	var roles []string
	for line := range strings.Lines(string(source)) {
		if strings.HasPrefix(line, "\tX(proxy_") {
			roles = append(roles, strings.Split(line, `"`)[1])
		}
	}
	if len(roles) < 40 {
		t.Fatalf("%d functions", len(roles))
	}
	return roles
}

// scriptTexts lie in the guest's memory, each where the one before it ends.
var scriptTexts = []string{
	"x-script-made", ":path", ":authority", ":method", ":status", "content-length", "transfer-encoding", "host", "value", "/a", "a\r\nb: c", "\x00",
	"web", "rpc", "rpc", "rpc", "nobody", "request\x00path", "request\x00headers", "plugin_root_id", "own", "wasm.own", "response\x00code", "compress", "uncompress",
	"clear_route_cache", "set_envoy_filter_state", "queue", "key", "metric",
	"\x03\x00\x00\x00\x07\x00\x00\x00\x03\x00\x00\x00\x05\x00\x00\x00\x02\x00\x00\x00\x0a\x00\x00\x00\x03\x00\x00\x00:method\x00GET\x00:path\x00/s\x00:authority\x00web\x00",
	"\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00x\x00a\x00b\r\nc:d\x00", "\xff\xff\xff\xff\xff\xff\xff\xff",
}

// writeScript turns bytes, which may be anything, into a script for the guest: what has a place in memory mostly gets one that
// makes sense, and where results go never is where the guest's own state is.
func writeScript(roles []string, raw []byte) []byte {
	next := func() uint32 {
		if len(raw) == 0 {
			return 0
		}
		b := raw[0]
		raw = raw[1:]
		return uint32(b)
	}
	wide := func() uint32 { return next() | next()<<8 | next()<<16 | next()<<24 }
	script := binary.LittleEndian.AppendUint32(nil, wide())
	texts := strings.Join(scriptTexts, "")
	script = binary.LittleEndian.AppendUint16(script, uint16(len(texts)))
	script = append(script, texts...)
	argument := func(kind byte, v uint32) {
		script = binary.LittleEndian.AppendUint32(append(script, kind), v)
	}
	for calls := 0; len(raw) > 0 && calls < 64; calls++ {
		f := next() % uint32(len(roles))
		script = append(script, byte(f))
		for _, role := range roles[f] {
			how := next()
			switch {
			case strings.ContainsRune("oO", role) && how < 224:
				argument(3, next()%32*8)
			case strings.ContainsRune("oO", role):
				argument(2, -(next()%12)+4) // about where memory ends
			case !strings.ContainsRune("LkwHBudfNKqI", role) && how < 128:
				argument(0, next()%10)
			case !strings.ContainsRune("LkwHBudfNKqI", role) && how < 192:
				argument(4, next()) // what another call gave
			case !strings.ContainsRune("LkwHBudfNKqI", role):
				argument(0, wide())
			case how < 208:
				i := int(next()) % len(scriptTexts)
				argument(1, uint32(len(strings.Join(scriptTexts[:i], ""))))
				argument(0, uint32(len(scriptTexts[i])))
			case how < 224:
				argument(2, -(next() % 64))
				argument(0, next()%128)
			case how < 240:
				argument(4, next())
				argument(4, next())
			default:
				argument(0, wide())
				argument(0, wide())
			}
		}
	}
	return append(script, byte(next()))
}

// scripted is a node whose filter does what requests tell it, beside a route with another filter and one without any.
type scripted struct {
	*house
	roles []string
	n     int
	rpcs  atomic.Int64 // calls of gRPC that have come
}

func serveScripted(t testing.TB) *scripted {
	s := &scripted{roles: functions(t)}
	rpc := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := s.rpcs.Add(1)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		for range 1 + n%2 { // one is the answer of a call, two are those of a stream
			_, _ = io.WriteString(w, "\x00\x00\x00\x00\x02hi")
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set("Grpc-Status", strconv.Itoa(int(n%3)))
	}))
	rpc.Config.Protocols = &http.Protocols{}
	rpc.Config.Protocols.SetUnencryptedHTTP2(true)
	rpc.Start()
	t.Cleanup(rpc.Close)
	s.house = serve(t, "", scriptYAML(""), map[string][]byte{"script.wasm": guest.C(t, "testdata/c/script.c"), "filter.wasm": guest.C(t, "testdata/c/filter.c")},
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Seen", r.Header.Get("X-Client"))
			_, _ = w.Write(b)
		}), map[string]string{"RPC": rpc.Listener.Addr().String()})
	return s
}

func scriptYAML(config string) string {
	return fmt.Sprintf(`
wasm:
  script: {file: script.wasm, instances: 2, calls: [web, rpc], pause: 100ms, config: "%s", %s}
  other: {file: filter.wasm, calls: [web], %s}
upstreams:
  web: {endpoints: ["http://${UPSTREAM}"], max_in_flight: 10000}
  rpc: {endpoints: ["http://${RPC}"], protocol: h2, max_in_flight: 10000}
routes:
  - {match: {path: /free}, auth: none, upstream: web}
  - {match: {path: /other}, auth: none, wasm: [other], upstream: web}
  - {match: {path: /*}, auth: none, wasm: [script], upstream: web}
`, config, unhurried, unhurried)
}

// do sends a script. What becomes of its own request is open; after some, the others are looked after.
func (s *scripted) do(t testing.TB, raw []byte) {
	t.Helper()
	text := hex.EncodeToString(writeScript(s.roles, raw))
	body := "hello"
	request := fmt.Sprintf("POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Script: %s\r\nContent-Length: %d\r\n\r\n%s", text, len(body), body)
	if s.n%2 == 1 {
		request = fmt.Sprintf("POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Script: %s\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n", text)
	}
	c := s.Dial()
	defer c.Close()
	_, _ = io.WriteString(c, request)
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.Copy(io.Discard, c)
	if s.n++; s.n%16 == 0 {
		s.others(t)
	}
}

// asks begins a script that makes a call of gRPC, or opens a stream, for a request and runs in the callbacks about it.
func (s *scripted) asks(stream bool) []byte {
	roles := "uBBHBto"
	if stream {
		roles = "uBBHo"
	}
	raw := []byte{0x10, 0, 0x0f, 0, byte(slices.Index(s.roles, roles))}
	for i, role := range roles {
		switch {
		case i == 0:
			raw = append(raw, 0, byte(slices.Index(scriptTexts, "rpc")))
		case role == 'B' || role == 'H':
			raw = append(raw, 0, byte(slices.Index(scriptTexts, "own")))
		default:
			raw = append(raw, 0, 0)
		}
	}
	return raw
}

// others are the requests that scripts must not harm, and what the host must not do.
func (s *scripted) others(t testing.TB) {
	t.Helper()
	if status, _, body := s.Do("POST", "/free", "free"); status != 200 || body != "free" {
		t.Errorf("without a filter: %d %q", status, body)
	}
	if status, header, body := s.Do("POST", "/other", "other", "X-Client", "me"); status != 200 || body != "other" || header.Get("X-Seen") != "me" {
		t.Errorf("with another filter: %d %v %q", status, header, body)
	}
	for _, log := range []string{s.log.String(), s.Log.String()} {
		for _, bad := range []string{"recovered by wazero", "runtime error", "goroutine ", "nil pointer"} {
			if i := strings.Index(log, bad); i >= 0 {
				t.Fatalf("the host panicked: %s", log[max(0, i-2000):min(len(log), i+4000)])
			}
		}
	}
}

// TestScripts lets a guest call the host's functions thousands of times with arguments by chance, in every callback: the host
// does not panic, no guest traps, and the requests beside are answered.
func TestScripts(t *testing.T) {
	s := serveScripted(t)
	chance := rand.New(rand.NewPCG(1, 2))
	raw := make([]byte, 256)
	for range 3000 {
		for i := range raw {
			raw[i] = byte(chance.Uint32())
		}
		s.do(t, raw[:1+chance.IntN(len(raw))])
		if t.Failed() {
			break
		}
	}
	// In those of gRPC, which takes more luck to come to: calls and streams that are good, and what chance says of their answers.
	const each = 60
	before := s.rpcs.Load()
	for i := range each {
		for j := range raw {
			raw[j] = byte(chance.Uint32())
		}
		s.do(t, append(s.asks(i%2 == 0), raw[:1+chance.IntN(150)]...))
	}
	coretest.Eventually(t, "calls of gRPC", func() bool { return s.rpcs.Load() >= before+each/2 })
	// The scripts have come as far as the guest: what one of them does to its own request keeps no other away.
	for _, f := range s.Set.Wasm.Filters() {
		for _, p := range f.Phases {
			if f.Name == "script" && p.Phase == "request_headers" && p.Calls < 2000 {
				t.Errorf("%d calls of %s", p.Calls, p.Phase)
			}
		}
	}
	calls := regexp.MustCompile(`(?m)^\S*script_calls\S* (\d+)$`).FindStringSubmatch(string(s.Node.Metrics()))
	if calls == nil {
		t.Fatalf("no metric of calls:\n%s", s.Node.Metrics())
	}
	if n, _ := strconv.Atoi(calls[1]); n < 100_000 {
		t.Errorf("%d calls", n)
	}
	t.Logf("%s calls, %d of gRPC", calls[1], s.rpcs.Load())
	// In the callbacks that begin and end a plugin, too.
	for range 30 {
		for i := range raw {
			raw[i] = byte(chance.Uint32())
		}
		s.Write(head + scriptYAML(hex.EncodeToString(writeScript(s.roles, raw))))
		if err := s.Node.Reload(); err != nil {
			t.Fatalf("%x: %v", raw, err)
		}
		s.do(t, raw)
	}
	s.others(t)
	if n := s.said("WRONG: "); n != 0 {
		t.Errorf("%d wrongs\n%s", n, s.log)
	}
}

// FuzzScripts is TestScripts for as long as one likes.
func FuzzScripts(f *testing.F) {
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0})
	f.Add([]byte{0x10, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte("any bytes are a script, and most of them call something"))
	s := serveScripted(f)
	f.Cleanup(func() { s.T = f })
	f.Fuzz(func(t *testing.T, raw []byte) {
		s.T = t
		s.do(t, raw[:min(len(raw), 600)])
		s.others(t)
	})
}
