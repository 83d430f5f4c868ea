package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// row is one line of the scoreboard.
type row struct {
	id, what string
	figures  []figure
	env      []string // for the long form; what the environment sets already stays
	cmd      []string
	apart    bool // measured only when asked for by its id
}

// figure is a number with a floor. It is read off a line `score <id> <name> <number>` in what the command prints, but for two
// that the command's end tells.
type figure struct {
	name        string
	unit        string
	least, most float64
	atLeastRan  int  // tests that must have run, for the figure tests
	volume      bool // how much was done, which -quick does not ask for
}

const (
	tests  = "failing" // tests that failed, of tests that hold the floor themselves
	status = "status"  // the command's exit status
)

func none(name string) figure { return figure{name: name, least: math.Inf(-1)} }
func most(name string, n float64, unit string) figure {
	return figure{name: name, unit: unit, least: math.Inf(-1), most: n}
}
func least(name string, n float64, unit string) figure {
	return figure{name: name, unit: unit, least: n, most: math.Inf(1)}
}
func volume(name string, n float64) figure {
	return figure{name: name, least: n, most: math.Inf(1), volume: true}
}
func within(name string, n float64) figure { return figure{name: name, least: -n, most: n} }
func holds(n int) figure                   { return figure{name: tests, least: 0, atLeastRan: n} }

// missed is by how much v misses the floor; 0 if it does not.
func (f *figure) missed(v float64) float64 {
	switch {
	case math.IsNaN(v):
		return math.NaN()
	case v < f.least:
		return f.least - v
	case v > f.most:
		return v - f.most
	}
	return 0
}

func (f *figure) words(v float64) string {
	return strings.TrimSpace(f.name + " " + number(v) + " " + f.unit)
}

func (f *figure) floor() string {
	switch {
	case math.IsInf(f.most, 1):
		return strings.TrimSpace(fmt.Sprintf("%s ≥ %s %s", f.name, number(f.least), f.unit))
	case f.most == 0 && (f.least == 0 || math.IsInf(f.least, -1)):
		return f.name + " 0"
	case f.least == -f.most:
		return fmt.Sprintf("%s ± %s", f.name, number(f.most))
	}
	return strings.TrimSpace(fmt.Sprintf("%s ≤ %s %s", f.name, number(f.most), f.unit))
}

func (r *row) floors() string {
	var all []string
	for _, f := range r.figures {
		all = append(all, f.floor())
	}
	return strings.Join(all, ", ")
}

func number(v float64) string {
	if math.Abs(v) >= 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// test is the command for tests of one package.
func test(pkg, run string) []string {
	return []string{"go", "test", pkg, "-run", "^(" + run + ")$", "-count=1", "-v", "-timeout", "30h"}
}

func fuzz(pkg, target string) []string {
	return []string{"go", "test", pkg, "-run", "^$", "-fuzz", "^" + target + "$", "-fuzztime", "8h"}
}

func set(all ...string) []string { return all }

var rows = []row{
	{id: "A1", what: "requests of the corpus that are forwarded in an unsafe form", figures: []figure{none("unsafe")}, cmd: test("./bench/conform", "TestRequests")},
	{id: "A2", what: "requests of the corpus that are all right", figures: []figure{least("ok", 208.0/216, "of all")}, cmd: test("./bench/conform", "TestRequests")},
	{id: "A3", what: "hostile answers that are not dealt with; later requests that get another's answer", figures: []figure{none("wrong"), none("poisoned")}, cmd: test("./bench/conform", "TestAnswers")},
	{id: "A9", what: "fuzzing whole connections against independent readers", figures: []figure{none(status)}, cmd: fuzz("./core/wire", "FuzzStream"), apart: true},
	{id: "A9-head", what: "fuzzing heads against net/http", figures: []figure{none(status)}, cmd: fuzz("./core/wire", "FuzzDifferential"), apart: true},
	{id: "A10", what: "fuzzing: what is forwarded is read again as the same", figures: []figure{none(status)}, cmd: fuzz("./core/wire", "FuzzForward"), apart: true},
	{id: "A11", what: "uploads and answers that are cut after every byte and shown as whole", figures: []figure{none("uploads"), none("answers")}, cmd: test("./bench/conform", "TestCutUploads|TestCutAnswers")},
	{id: "A12", what: "spellings of a guarded path that lead around its guard", figures: []figure{none("bypasses")}, cmd: test("./core/node", "TestNoSpellingIsAWayAround")},
	{id: "A13-tls", what: "h2spec, strict, over TLS", figures: []figure{none("failed"), least("passed", 146, "")}, cmd: []string{"go", "run", "./bench/score", "h2spec", "tls"}},
	{id: "A13-h2c", what: "h2spec, strict, over h2c, on a listener that speaks HTTP/1.1, too", figures: []figure{none("failed"), least("passed", 146, "")}, cmd: []string{"go", "run", "./bench/score", "h2spec", "h2c"}},
	{id: "A14", what: "attacks of HTTP/2 at the rate of good requests: CPU and p99 of others against these, and memory",
		figures: []figure{most("cpu", 2, "×"), most("p99", 2, "×"), most("rss", 64, "MiB")}, env: set("WEIR_ATTACK=10s"), cmd: test("./cmd/weir", "TestAttacksOfHTTP2")},
	{id: "A16", what: "WebSocket frames that arrive changed", figures: []figure{none("differ"), volume("frames", 1e5)}, env: set("WEIR_FRAMES=100000"), cmd: test("./core/node", "TestWebSocketTransparency")},

	{id: "C1", what: "p99 of ordinary traffic beside 1,000 slow clients, by turns", figures: []figure{most("p99", 2, "×")}, cmd: []string{"go", "run", "./bench", "-slow"}, apart: true},
	{id: "C2", what: "256 descriptors, 1,000 connections: served again after they have gone", figures: []figure{most("recovery", 1, "s")}, cmd: test("./cmd/weir", "TestDescriptors")},
	{id: "C3", what: "three times what an upstream can serve", figures: []figure{least("goodput", 0.9, "of the peak"), most("p99", 2, "×"), most("recovery", 2, "s")},
		env: set("WEIR_OVERLOAD=60s"), cmd: test("./cmd/weir", "TestOverload")},
	{id: "C4", what: "floods of connections, heads and bodies at a limit of 256 MiB (GOMEMLIMIT of nine tenths, RSS watched)", figures: []figure{most("rss", 220, "MiB")},
		env: set("WEIR_FLOOD=6000"), cmd: test("./cmd/weir", "TestMemoryCap")},
	{id: "C5", what: "limits of the head, to the byte", figures: []figure{holds(1)}, cmd: test("./bench/conform", "TestLimits")},
	{id: "C6", what: "limits of the body, to the byte, in both framings", figures: []figure{holds(1)}, cmd: test("./bench/conform", "TestBodyCap")},
	{id: "C7", what: "1,000 panics a second: other routes' failures", figures: []figure{none("failed")}, env: set("WEIR_STORM=60s"), cmd: test("./core/node", "TestPanicStorm")},
	{id: "C8", what: "1,000 clients leave by RST: until nothing of theirs is with the upstream", figures: []figure{most("seconds", 1, "")}, cmd: test("./cmd/weir", "TestClientsLeave")},
	{id: "C9", what: "soak by a mix of a fixed seed", figures: []figure{none("failed"), most("rss", 1, "MiB/h"), within("goroutines", 5), within("fds", 5), volume("requests", 1e6)},
		env: set("WEIR_SOAK=20m"), cmd: test("./cmd/weir", "TestSoak")},

	{id: "D1", what: "retries at an upstream that always fails", figures: []figure{holds(1)}, env: set("WEIR_LONG=1"), cmd: test("./core/upstream", "TestAmplification")},
	{id: "D2", what: "POSTs that run twice, broken off at every point", figures: []figure{holds(1)}, env: set("WEIR_LONG=1"), cmd: test("./core/upstream", "TestNoPostRunsTwice")},
	{id: "D3", what: "requests that fail when upstreams close idle connections", figures: []figure{holds(1)}, env: set("WEIR_LONG=1"), cmd: test("./core/upstream", "TestStaleConnections")},
	{id: "D4", what: "more probes of a half-open breaker than configured", figures: []figure{holds(1)}, cmd: test("./core/node", "TestBreaker")},
	{id: "D5", what: "p99 beside a hung upstream, by turns", figures: []figure{most("p99", 1.1, "×")}, env: set("WEIR_STORM=5s"), cmd: test("./core/node", "TestHungNeighbour")},
	{id: "D6", what: "504 at the time that is configured ± 50 ms, once", figures: []figure{holds(1)}, cmd: test("./core/upstream", "TestTimeoutsAreAccurate")},
	{id: "D7", what: "56 cells of bad networks: answers that are neither whole nor visibly failed", figures: []figure{none("wrong"), least("cells", 56, "")},
		env: set("WEIR_TOXIC=30s"), cmd: test("./core/node", "TestBadNetworks")},

	{id: "F1", what: "what guests try against the engine and through their ABI: tests that failed, and that held",
		figures: []figure{none("engine-failed"), none("abi-failed"), least("engine", 18, ""), least("abi", 16, "")},
		cmd:     []string{"go", "test", "./core/wasm", "./filters/wasm", "-run", "^(TestContain)$", "-count=1", "-v"}},
	{id: "F2", what: "filters that spin: CPU beyond the budget until they are stopped, pauses of the process over 10 ms, p99 of another route beside a filter that is stopped, filters in turn, and one that returns just in time",
		figures: []figure{most("kill", 1, "ms"), none("pauses"), most("p99-stopped", 1.5, "×"), most("p99-turns", 1.5, "×"), most("p99-nearly", 1.5, "×")},
		env:     set("WEIR_SPIN=20s"), cmd: []string{"go", "test", "-p", "1", "./core/wasm", "./filters/wasm", "./cmd/weir", "-run", "^(TestContain|TestSpinningPauses|TestSpinningFilter)$", "-count=1", "-v", "-timeout", "1h"}},
	{id: "F3", what: "tight loops, metered against not metered: one that only counts, and one that reads bytes", figures: []figure{most("loop", 2.5, "×"), most("bytes", 2.5, "×")}, cmd: test("./core/wasm", "TestLoopSlowdown")},
	{id: "F4", what: "filters that trap on every request: failures of others, answers other than on_error says, instances made anew a second for one filter",
		figures: []figure{none("failed"), none("wrong"), most("instances", 10, "/s"), volume("requests", 5000)}, env: set("WEIR_TRAPS=20s"), cmd: test("./filters/wasm", "TestTrapStorm")},
	{id: "F5", what: "secrets of one request that another filter, or another instance, finds in its memory", figures: []figure{none("leaks")}, cmd: test("./filters/wasm", "TestContain")},
	{id: "F6", what: "1,000 reloads under load that change modules, and 1,000 that change what they are configured with: what is left of the second half",
		figures: []figure{none("failed"), most("module-rss", 8, "MiB"), most("configuration-rss", 8, "MiB")}, env: set("WEIR_RELOADS=1000"), cmd: test("./cmd/weir", "TestReloadModules")},

	{id: "G1", what: "1,000 reloads under load", figures: []figure{none("failed"), volume("reloads", 1000)}, env: set("WEIR_SOAK=201s"), cmd: test("./cmd/weir", "TestReloadUnderLoad")},
	{id: "G2", what: "1,000 reloads: what is left of the second half", figures: []figure{within("goroutines", 5), within("fds", 5), most("rss", 1, "MiB")}, env: set("WEIR_RELOADS=1000"), cmd: test("./cmd/weir", "TestReloadsLeaveNothing")},
	{id: "G3", what: "broken, half-written and swapped configurations", figures: []figure{none("failed"), none("mixed")}, env: set("WEIR_MUTATIONS=200"), cmd: test("./cmd/weir", "TestBrokenFiles")},
	{id: "G4", what: "50 upgrades under load", figures: []figure{none("failed")}, env: set("WEIR_UPGRADES=50"), cmd: test("./cmd/weir", "TestUpgrade")},
	{id: "G5", what: "drain of 500 requests and 50 WebSockets", figures: []figure{none("cut")}, cmd: test("./cmd/weir", "TestDrainCrowd")},
	{id: "G6", what: "secrets in logs and answers, over the corpus", figures: []figure{none("secrets")}, cmd: test("./bench/conform", "TestNoSecretIsLogged")},
	{id: "G7", what: "TLS: versions and suites that are offered, bad certificates of upstreams", figures: []figure{holds(3)},
		cmd: []string{"go", "test", "./core/certs", "./core/node", "-run", "^(TestOffered|TestTLSFloor|TestUpstreamCertificates)$", "-count=1", "-v"}},
	{id: "G8-vet", what: "go vet", figures: []figure{none(status)}, cmd: []string{"go", "vet", "./..."}},
	{id: "G8-race", what: "the suite under the race detector", figures: []figure{none(status)}, cmd: []string{"go", "test", "-race", "-timeout", "40m", "./..."}, apart: true},
	{id: "G8-vuln", what: "known vulnerabilities (needs the database of vuln.go.dev)", figures: []figure{none(status)}, cmd: []string{"go", "run", "golang.org/x/vuln/cmd/govulncheck@v1.1.4", "./..."}, apart: true},
}
