package observe

import "sync"

// stoppedWriter blocks every write until resume.
type stoppedWriter struct {
	once sync.Once
	gate chan struct{}
}

func newStoppedWriter() *stoppedWriter { return &stoppedWriter{gate: make(chan struct{})} }

func (s *stoppedWriter) Write(p []byte) (int, error) {
	<-s.gate
	return len(p), nil
}

func (s *stoppedWriter) resume() { s.once.Do(func() { close(s.gate) }) }
