package filter

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStatusJSON(t *testing.T) {
	at := time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)
	f := func(s Status, want string) {
		t.Helper()
		got, err := json.Marshal(s)
		if err != nil || string(got) != want {
			t.Errorf("%v\nhave %s\nwant %s", err, got, want)
		}
	}
	const instances = `"instances":{"live":0,"max":0,"made":0,"discarded":0,"recycled":0,"failed_starts":0}`
	// What does not apply is not there.
	f(Status{Name: "a", SHA256: "00", ABI: "http-wasm", Routes: []string{}, OnError: "fail_open", State: StateServing, Failures: map[string]int64{}, Phases: []Phase{}},
		`{"name":"a","sha256":"00","abi":"http-wasm","routes":[],"places":0,"on_error":"fail_open","state":"serving",`+instances+
			`,"memory":{"bytes":0,"high":0,"cap":0},"cpu_budget":{"call":"0s","stream":"0s","start":"0s"},"phases":[],"failures":{},"log_lines_dropped":0}`)
	f(Status{
		Name: "b", URL: "oci://x", State: StateStopped, Until: &at, Reason: "trap", Use: &Use{InUse: 1}, Streams: &Streams{Paused: 2}, Calls: &Calls{Failed: 3},
		Budget: Budget{5 * time.Millisecond, 50 * time.Millisecond, 2 * time.Second},
		Phases: []Phase{{"tick", 2, 12345 * time.Nanosecond, 1234567 * time.Nanosecond, 61 * time.Second}},
		Last:   NewFailure(at, "trap", errors.New("it fell"), "f()\n\tg()\n"), Links: &Links{Stubbed: []string{"env.x"}},
	}, `{"name":"b","url":"oci://x","sha256":"","abi":"","routes":null,"places":0,"on_error":"","state":"stopped","until":"2026-11-20T15:00:00Z","reason":"trap",`+instances+
		`,"use":{"in_use":1,"waited":0,"timed_out":0},"streams":{"open":0,"paused":2,"contexts":0},"calls":{"made":0,"failed":3,"in_flight":0}`+
		`,"memory":{"bytes":0,"high":0,"cap":0},"cpu_budget":{"call":"5ms","stream":"50ms","start":"2s"}`+
		`,"phases":[{"phase":"tick","calls":2,"p50":"12.3µs","p99":"1.23ms","cpu":"1m1s","p50_ns":12345,"p99_ns":1234567,"cpu_ns":61000000000}]`+
		`,"failures":null,"log_lines_dropped":0,"last_failure":{"time":"2026-11-20T15:00:00Z","kind":"trap","error":"it fell","stack":["f()","g()"]},"links":{"stubbed":["env.x"]}}`)
}

func TestReadable(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := readable(d); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
	f(0, "0s")
	f(7, "7ns")
	f(999, "999ns")
	f(12344, "12.3µs")
	f(999_999, "1ms")
	f(5*time.Millisecond, "5ms")
	f(90*time.Second, "1m30s")
}

func TestFailureKeepsTheTop(t *testing.T) {
	f := NewFailure(time.Now(), "trap", errors.New("x"), strings.Repeat("f()\n", 100))
	if len(f.Stack) != stackLines || slices.Contains(f.Stack, "") {
		t.Error(f.Stack)
	}
}

func TestConfigMark(t *testing.T) {
	a, again, b := ConfigMark("a"), ConfigMark(strings.ToLower("A")), ConfigMark("b")
	if ConfigMark("") != "" || a != again || a == b || len(a) != 12 {
		t.Error(a, again, b)
	}
}
