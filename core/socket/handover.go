package socket

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bound is a listener and what it was opened by.
type Bound struct {
	Network, Target string
	Listener        net.Listener
}

// Command is the program that takes over: Path as it is executed, Args with its name first, Env without what HandOver adds.
type Command struct {
	Path      string
	Args, Env []string
}

var (
	errInit    = errors.New("weir is process 1: its end would end the container; replace the container instead")
	errStopped = errors.New("weir is stopping")
	errEnded   = errors.New("the new process ended before it served; its log says why")
)

// HandOver starts c with the sockets of all, and those of systemd, and waits until it says that it serves. Nothing that
// arrives meanwhile is lost: both processes accept from the same queues. If the new process ends before, or does not
// serve within wait, it is gone when HandOver returns its error, and the listeners are as they were. On success the caller
// stops accepting and drains; paths of unix sockets stay.
func (s *Set) HandOver(c Command, all []Bound, wait time.Duration) (pid int, err error) {
	if os.Getpid() == 1 {
		return 0, errInit
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	var fds []int
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	add := func(k string, sc syscall.Conn) error {
		fd, err := duplicate(sc)
		if err == nil {
			keys, fds = append(keys, k), append(fds, fd)
		}
		return err
	}
	for _, b := range all {
		sc, ok := b.Listener.(syscall.Conn)
		if !ok || b.Network == Systemd { // those of systemd are passed on as they came
			continue
		}
		if err := add(key(b.Network, b.Target), sc); err != nil {
			return 0, err
		}
	}
	for k, files := range s.given {
		for _, f := range files {
			if err := add(k, f); err != nil {
				return 0, err
			}
		}
	}
	pid, err = s.start(c, keys, fds, wait)
	if err != nil {
		return 0, err
	}
	for _, b := range all {
		if u, ok := b.Listener.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
	}
	return pid, nil
}

// duplicate gives a descriptor of the same socket that this process closes on exec. It stays non-blocking: os/exec would
// change that, for both processes.
func duplicate(sc syscall.Conn) (fd int, err error) {
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	if ctlErr := raw.Control(func(s uintptr) { fd, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) }); ctlErr != nil {
		return 0, ctlErr
	}
	return fd, err
}

func (s *Set) start(c Command, keys []string, fds []int, wait time.Duration) (pid int, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer func() { _ = r.Close() }()
	list, err := json.Marshal(keys)
	if err != nil {
		_ = w.Close()
		return 0, err
	}
	files := []uintptr{0, 1, 2, w.Fd()}
	for _, fd := range fds {
		files = append(files, uintptr(fd))
	}
	env := append(without(c.Env, socketsEnv), socketsEnv+"="+string(list))
	pid, _, err = syscall.StartProcess(c.Path, c.Args, &syscall.ProcAttr{Env: env, Files: files})
	_ = w.Close() // the child's end is the only one now: its death ends the pipe
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", c.Path, err)
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = p.Wait() // so that it leaves no zombie, whenever it ends
		close(ended)
	}()
	if err := s.awaitReady(r, wait); err != nil {
		_ = p.Kill()
		<-ended
		return 0, err
	}
	return pid, nil
}

// Stop ends a hand-over that is under way, and keeps others from beginning: the process is about to end, and what would take
// over must not go on without it. One that is just done stays done.
func (s *Set) Stop() {
	s.waits.Lock()
	defer s.waits.Unlock()
	s.stopped = true
	if s.wait != nil {
		_ = s.wait.SetReadDeadline(time.Unix(1, 0))
	}
}

// awaits says which pipe a hand-over waits at; nil: none does.
func (s *Set) awaits(r *os.File, most time.Duration) error {
	s.waits.Lock()
	defer s.waits.Unlock()
	if s.wait = r; r == nil {
		return nil
	}
	if s.stopped {
		return errStopped
	}
	return r.SetReadDeadline(time.Now().Add(most))
}

func (s *Set) awaitReady(r *os.File, wait time.Duration) error {
	if err := s.awaits(r, wait); err != nil {
		return err
	}
	defer func() { _ = s.awaits(nil, 0) }()
	var b [1]byte
	n, err := r.Read(b[:])
	switch {
	case n == 1:
		return nil
	case s.isStopped():
		return errStopped
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the new process did not serve within %s", wait)
	}
	return errEnded
}

func (s *Set) isStopped() bool {
	s.waits.Lock()
	defer s.waits.Unlock()
	return s.stopped
}

// without drops a variable of an environment.
func without(env []string, name string) []string {
	out := make([]string, 0, len(env)+1)
	for _, e := range env {
		if !strings.HasPrefix(e, name+"=") {
			out = append(out, e)
		}
	}
	return out
}
