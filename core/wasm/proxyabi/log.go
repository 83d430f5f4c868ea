package proxyabi

import (
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
)

// logFunctions are those that need no more than the call under way.
var logFunctions = []wasm.HostFunc{
	function("proxy_log", "iii", logLine),
	function("proxy_get_log_level", "i", logLevel),
	function("proxy_get_current_time_nanoseconds", "i", currentTime),
	function("proxy_done", "", contextDone),
	function("proxy_set_effective_context", "i", effectiveContext),
}

// levels are the ABI's, trace to critical. Critical is an error like others: in weir's log the level above says that weir
// itself cannot go on.
var levels = [...]zerolog.Level{
	zerolog.TraceLevel, zerolog.DebugLevel, zerolog.InfoLevel, zerolog.WarnLevel, zerolog.ErrorLevel, zerolog.ErrorLevel,
}

// logLine is proxy_log (level, text, length). What is too much is dropped and counted, and the guest is told nothing: the Rust
// SDK panics on any other answer.
func logLine(sh *shard, a []uint64) status {
	if u32(a[0]) >= uint32(len(levels)) {
		return statusBadArgument
	}
	text, ok := sh.read(a[1], a[2])
	if !ok {
		return statusInvalidMemory
	}
	level := levels[u32(a[0])]
	if sh.canary {
		if level >= zerolog.WarnLevel {
			sh.said = string(text[:min(len(text), maxSaid)])
		}
		level = min(level, zerolog.DebugLevel)
	}
	j := sh.journal()
	if !j.Enabled(level) {
		return statusOK
	}
	var id []byte
	if st := sh.stream(); st != nil {
		if st.lines++; st.lines > abi.LinesPerExchange {
			j.Drop()
			return statusOK
		}
		id = st.x.RequestID
	}
	j.Line(level, text, id)
	return statusOK
}

// maxSaid is how much of a line is told as a reason.
const maxSaid = 300

// because adds what the guest of a canary has said to the error that it ended with: else nobody would see why.
func (sh *shard) because(err error) error {
	if err == nil || sh.said == "" {
		return err
	}
	return fmt.Errorf("%w; it logged: %.300q", err, strings.TrimSpace(sh.said))
}

// logLevel is proxy_get_log_level (level*): the lowest that is written.
func logLevel(sh *shard, a []uint64) status { return sh.put32(a[0], sh.level()) }

func (sh *shard) level() (n uint32) {
	for int(n) < len(levels)-1 && !sh.vm.journal.Enabled(levels[n]) {
		n++
	}
	return n
}

// currentTime is proxy_get_current_time_nanoseconds (time*), since 1970.
func currentTime(sh *shard, a []uint64) status { return sh.put64(a[0], uint64(time.Now().UnixNano())) }

// contextDone is proxy_done (). Envoy answers NotFound when nothing waits for it; the Rust SDK panics on that, and there is
// nothing that a guest could do about it.
func contextDone(sh *shard, _ []uint64) status {
	if sc := sh.eff; sc != nil && sc.stream == nil {
		sc.root.pending = false
	}
	return statusOK
}

// effectiveContext is proxy_set_effective_context (id): what follows in the call under way is done for another context.
func effectiveContext(sh *shard, a []uint64) status {
	sc := sh.scopes.get(u32(a[0]))
	if sc == nil {
		return statusBadArgument
	}
	sh.eff = sc
	return statusOK
}
