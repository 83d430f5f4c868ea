package filter

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
)

// Status is one loaded filter as the operator sees it: plain data, a copy of a moment. What does not apply to a filter is
// left out of its JSON. Several may have one name: what a route configures otherwise is a filter of its own, and so is the
// one before a reload as long as a stream uses it; Config tells them apart.
type Status struct {
	Name   string   `json:"name"`
	File   string   `json:"file,omitempty"` // the module, or URL says where it came from
	URL    string   `json:"url,omitempty"`
	SHA256 string   `json:"sha256"`
	ABI    string   `json:"abi"`              // "proxy-wasm 0.2.1", "http-wasm"
	VM     string   `json:"vm,omitempty"`     // vm_id, or the name, of what shares instances with it
	Config string   `json:"config,omitempty"` // ConfigMark of its configuration, which may hold secrets
	Routes []string `json:"routes"`           // the names of those that use it
	Places int      `json:"places"`           // on them, over all plans that are open: that of a reload, too, until its last stream ends

	OnError string     `json:"on_error"` // fail_closed or fail_open
	State   State      `json:"state"`
	Until   *time.Time `json:"until,omitempty"`  // of StateStopped: when the next trial is made
	Reason  string     `json:"reason,omitempty"` // why it is not serving

	Instances Instances        `json:"instances"`
	Use       *Use             `json:"use,omitempty"`     // of instances that serve one exchange at a time
	Streams   *Streams         `json:"streams,omitempty"` // of instances that serve many
	Calls     *Calls           `json:"calls,omitempty"`   // of filters that may ask upstreams
	Memory    Memory           `json:"memory"`
	Budget    Budget           `json:"cpu_budget"`
	Phases    []Phase          `json:"phases"`   // those that have been called, in the order of an exchange
	Failures  map[string]int64 `json:"failures"` // by kind, since it was loaded; those that happened
	Dropped   int64            `json:"log_lines_dropped"`
	Last      *Failure         `json:"last_failure,omitempty"`
	Links     *Links           `json:"links,omitempty"`
}

// ConfigMark stands for a configuration: equal texts have one mark, and nothing can be read from it. It is "" for "".
func ConfigMark(config string) string {
	if config == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(config))
	return hex.EncodeToString(sum[:6])
}

// State says whether a filter is called.
type State string

const (
	StateServing  State = "serving"
	StateStopped  State = "stopped"  // it failed too often: on_error says what becomes of requests until the next trial
	StateStarting State = "starting" // no instance is ready as yet
)

// Instances counts a filter's instances. All but Live and Max only grow.
type Instances struct {
	Live         int64 `json:"live"`
	Max          int64 `json:"max"`
	Made         int64 `json:"made"`
	Discarded    int64 `json:"discarded"` // after a failure
	Recycled     int64 `json:"recycled"`  // grown too large, or old
	FailedStarts int64 `json:"failed_starts"`
}

// Use is how busy instances are that serve one exchange at a time.
type Use struct {
	InUse    int64 `json:"in_use"`
	Waited   int64 `json:"waited"`    // exchanges that had to wait for one, in all
	TimedOut int64 `json:"timed_out"` // those that waited for nothing
}

// Streams is what instances have open that serve many exchanges at a time.
type Streams struct {
	Open     int64 `json:"open"`
	Paused   int64 `json:"paused"`
	Contexts int64 `json:"contexts"` // in the guests, those of the filter itself included
}

// Calls is what a filter has asked of upstreams.
type Calls struct {
	Made     int64 `json:"made"`
	Failed   int64 `json:"failed"`
	InFlight int64 `json:"in_flight"`
}

// Memory is the linear memory of instances, in bytes.
type Memory struct {
	Now  int64 `json:"bytes"` // of all instances
	High int64 `json:"high"`  // the most that one has had
	Cap  int64 `json:"cap"`   // of one
}

// Budget is the CPU time that a filter may spend.
type Budget struct {
	Call   time.Duration // at a time
	Stream time.Duration // for one exchange
	Start  time.Duration // of an instance's start
}

// MarshalJSON writes durations as people read them.
func (b Budget) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Call   string `json:"call"`
		Stream string `json:"stream"`
		Start  string `json:"start"`
	}{b.Call.String(), b.Stream.String(), b.Start.String()})
}

// Phase is what the calls of one phase have cost: CPU time of the guest, host work that is charged to it included.
type Phase struct {
	Phase    string
	Calls    uint64
	P50, P99 time.Duration // as metric.Spread tells them
	CPU      time.Duration // of all calls
}

// MarshalJSON writes durations twice: as people read them, and in nanoseconds.
func (p Phase) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Phase string        `json:"phase"`
		Calls uint64        `json:"calls"`
		P50   string        `json:"p50"`
		P99   string        `json:"p99"`
		CPU   string        `json:"cpu"`
		P50N  time.Duration `json:"p50_ns"`
		P99N  time.Duration `json:"p99_ns"`
		CPUN  time.Duration `json:"cpu_ns"`
	}{p.Phase, p.Calls, readable(p.P50), readable(p.P99), readable(p.CPU), p.P50, p.P99, p.CPU})
}

// readable has three digits: 12.3µs.
func readable(d time.Duration) string {
	unit := time.Duration(1)
	for d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit).String()
}

// Failure is one time that a filter failed.
type Failure struct {
	Time  time.Time `json:"time"`
	Kind  string    `json:"kind"` // as in Status.Failures
	Error string    `json:"error"`
	Stack []string  `json:"stack,omitempty"` // of the guest, innermost function first; the first lines
}

// stackLines is how much of a guest's stack a Failure keeps.
const stackLines = 8

// NewFailure notes err, with the first lines of the guest's stack as a trap gives it.
func NewFailure(now time.Time, kind string, err error, stack string) *Failure {
	f := &Failure{Time: now, Kind: kind, Error: err.Error()}
	for line := range strings.Lines(stack) {
		if line = strings.TrimSpace(line); line != "" && len(f.Stack) < stackLines {
			f.Stack = append(f.Stack, line)
		}
	}
	return f
}

// Links is what of a guest's imports is not there as it asks for it.
type Links struct {
	Stubbed []string `json:"stubbed,omitempty"` // unknown: they give an error, or trap
	Adapted []string `json:"adapted,omitempty"` // known with another signature
}
