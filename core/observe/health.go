package observe

import (
	"encoding/json"
	"sync"
	"sync/atomic"
)

// Health answers whether the node lives and whether it should be sent traffic. Any goroutine may use it. The zero value
// is ready and has no checks.
type Health struct {
	draining atomic.Bool
	mu       sync.Mutex
	checks   []check
}

type check struct {
	name string
	ask  func() (ok bool, detail string)
}

// Register adds a check that readiness depends on, in place of one of the same name. ask may be called by several
// goroutines at once and must not block: it reports what is known, it does not go and look. detail is shown to whoever may ask
// for readiness and so holds no secret.
func (h *Health) Register(name string, ask func() (ok bool, detail string)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	// A fresh list: AppendReady may hold the old one.
	list := make([]check, 0, len(h.checks)+1)
	found := false
	for _, c := range h.checks {
		if c.name == name {
			c.ask, found = ask, true
		}
		list = append(list, c)
	}
	if !found {
		list = append(list, check{name, ask})
	}
	h.checks = list
}

// Remove takes a check back.
func (h *Health) Remove(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]check, 0, len(h.checks))
	for _, c := range h.checks {
		if c.name != name {
			list = append(list, c)
		}
	}
	h.checks = list
}

// SetDraining makes the node not ready, or lets the checks decide again.
func (h *Health) SetDraining(on bool) { h.draining.Store(on) }

// Draining reports what SetDraining was last given.
func (h *Health) Draining() bool { return h.draining.Load() }

// AppendHealth appends the answer to a liveness probe, which goes with status 200: a process that can answer is healthy.
func (h *Health) AppendHealth(dst []byte) []byte { return append(dst, `{"status":"healthy"}`...) }

// AppendReady appends the answer to a readiness probe and gives its status: 200, or 503 while draining or while a
// check fails.
func (h *Health) AppendReady(dst []byte) (body []byte, status int) {
	h.mu.Lock()
	checks := h.checks
	h.mu.Unlock()

	type result struct {
		Status string `json:"status"`
		Detail string `json:"detail,omitempty"`
	}
	answer := struct {
		Status string            `json:"status"`
		Checks map[string]result `json:"checks"`
	}{"ready", map[string]result{}}
	status = 200
	add := func(name string, ok bool, detail string) {
		r := result{"ok", detail}
		if !ok {
			r.Status = "failed"
			answer.Status, status = "not_ready", 503
		}
		answer.Checks[name] = r
	}
	for _, c := range checks {
		ok, detail := c.ask()
		add(c.name, ok, detail)
	}
	if h.draining.Load() {
		add("drain", false, "draining")
	}
	body, _ = json.Marshal(answer) // strings only: cannot fail
	return append(dst, body...), status
}
