package coretest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Steady is load that comes at a constant rate, whatever becomes of it: each request has a time at which it is due, and its
// latency counts from then. A request that finds no free connection gets a new one.
type Steady struct {
	Address string
	Request string   // bytes, of a request without a body
	InTurn  []string // requests that take turns, in place of Request
	Rate    int      // a second
	Timeout time.Duration

	turn atomic.Uint64
	mu   sync.Mutex
	idle []*steadyConn
}

// Sample is one request of a Steady load.
type Sample struct {
	Due    time.Duration // since the load began
	Took   time.Duration // since it was due
	Status int           // 0: no whole answer
}

type steadyConn struct {
	net.Conn
	in    *bufio.Reader
	since time.Time // that it lies idle
}

// idleMost is how long a connection may have lain idle: a server closes it at some time, perhaps just when it is used again.
const idleMost = 20 * time.Second

// Run sends for d, waits for the last answer and gives all in the order in which they were due.
func (s *Steady) Run(t testing.TB, d time.Duration) []Sample {
	t.Helper()
	all := make([]Sample, int(float64(s.Rate)*d.Seconds()))
	var wg sync.WaitGroup
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range all {
		due := time.Duration(i) * time.Second / time.Duration(s.Rate)
		if wait := due - time.Since(began); wait > 0 {
			timer.Reset(wait)
			<-timer.C
		}
		wg.Go(func() {
			status := s.Ask()
			all[i] = Sample{Due: due, Took: time.Since(began) - due, Status: status}
		})
	}
	wg.Wait()
	return all
}

// Close closes the connections that lie idle.
func (s *Steady) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.idle {
		c.Close()
	}
	s.idle = nil
}

// Ask sends one request now, and gives its answer's status; 0 is no whole answer.
func (s *Steady) Ask() (status int) {
	c, err := s.lend()
	if err != nil {
		return 0
	}
	request := s.Request
	if n := uint64(len(s.InTurn)); n > 0 {
		request = s.InTurn[s.turn.Add(1)%n]
	}
	status, again, err := c.ask(request, s.Timeout)
	if err != nil || !again {
		c.Close()
		return status
	}
	c.since = time.Now()
	s.mu.Lock()
	s.idle = append(s.idle, c)
	s.mu.Unlock()
	return status
}

func (s *Steady) lend() (*steadyConn, error) {
	s.mu.Lock()
	for n := len(s.idle); n > 0; n = len(s.idle) {
		c := s.idle[n-1]
		s.idle = s.idle[:n-1]
		if time.Since(c.since) < idleMost {
			s.mu.Unlock()
			return c, nil
		}
		c.Close()
	}
	s.mu.Unlock()
	nc, err := net.DialTimeout("tcp", s.Address, s.Timeout)
	if err != nil {
		return nil, err
	}
	return &steadyConn{Conn: nc, in: bufio.NewReader(nc)}, nil
}

func (c *steadyConn) ask(request string, timeout time.Duration) (status int, again bool, err error) {
	_ = c.SetDeadline(time.Now().Add(timeout))
	if _, err := io.WriteString(c, request); err != nil {
		return 0, false, err
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, false, err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0, false, err
	}
	return answer.StatusCode, !answer.Close, nil
}

// Percentile gives the latency that the part p of the samples with the status stays below; 0 stands for any status.
func Percentile(all []Sample, status int, p float64) time.Duration {
	var took []time.Duration
	for _, s := range all {
		if status == 0 || s.Status == status {
			took = append(took, s.Took)
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[int(float64(len(took)-1)*p)]
}

// Good counts the samples with the status, and fails t if a request got no whole answer.
func Good(t testing.TB, all []Sample, status int) (n int) {
	t.Helper()
	lost := 0
	for _, s := range all {
		switch s.Status {
		case status:
			n++
		case 0:
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d requests without a whole answer", lost)
	}
	return n
}

// Statuses counts the samples by status; 0 is no whole answer.
func Statuses(all []Sample) map[int]int {
	n := map[int]int{}
	for _, s := range all {
		n[s.Status]++
	}
	return n
}
