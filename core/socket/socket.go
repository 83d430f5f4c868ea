// Package socket opens the sockets that a node listens on: it binds them, or takes them over from systemd or from the weir
// that this one replaces, so that no connection is refused in between.
package socket

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// Systemd is the network of sockets that systemd opens; the target is the socket's name (FileDescriptorName=).
const Systemd = "systemd"

// The environment of a process that takes over: the keys of the sockets that it was given, as JSON, in the order of its
// descriptors from firstSocket on. What it writes to readyPipe says that it serves.
const (
	socketsEnv  = "WEIR_SOCKETS"
	readyPipe   = 3
	firstSocket = 4
)

// Set opens sockets and knows those that the process was given. All methods may be called concurrently. The zero Set was
// given none.
type Set struct {
	mu    sync.Mutex
	given map[string][]*os.File // by key; those of systemd stay open, so that a reload may come back to one
	ready *os.File              // nil: nobody waits for it
	taken []*net.UnixListener   // whose paths are still the other process's

	waits   sync.Mutex // of what follows
	wait    *os.File   // where a hand-over waits for the new process
	stopped bool       // none may
}

func key(network, target string) string { return network + "|" + target }

// Inherit takes what the process was given by its environment, and clears that of it: only the first call finds anything.
func Inherit() (*Set, error) {
	s := &Set{given: map[string][]*os.File{}}
	for _, f := range activation.Files(true) {
		k := key(Systemd, f.Name())
		s.given[k] = append(s.given[k], f)
	}
	list, ok := os.LookupEnv(socketsEnv)
	if !ok {
		return s, nil
	}
	_ = os.Unsetenv(socketsEnv)
	var keys []string
	if err := json.Unmarshal([]byte(list), &keys); err != nil {
		return nil, fmt.Errorf("%s: %w", socketsEnv, err)
	}
	syscall.CloseOnExec(readyPipe)
	s.ready = os.NewFile(readyPipe, "ready")
	for i, k := range keys {
		syscall.CloseOnExec(firstSocket + i)
		s.given[k] = append(s.given[k], os.NewFile(uintptr(firstSocket+i), k))
	}
	return s, nil
}

// Listen opens a socket: one that was given, else a new one. network is tcp, unix or [Systemd].
func (s *Set) Listen(network, target string) (net.Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key(network, target)
	files := s.given[k]
	switch {
	case network == Systemd:
		return s.fromSystemd(target, files)
	case len(files) > 0:
		s.given[k] = files[1:]
		return s.takeOver(files[0])
	}
	return bind(network, target)
}

func (s *Set) fromSystemd(name string, files []*os.File) (net.Listener, error) {
	switch len(files) {
	case 0:
		return nil, fmt.Errorf("systemd has given no socket of this name%s", s.names())
	case 1:
		return net.FileListener(files[0])
	}
	return nil, fmt.Errorf("systemd has given %d sockets of this name; each .socket unit wants one ListenStream= and a FileDescriptorName= of its own", len(files))
}

// names lists the sockets of systemd, for an error.
func (s *Set) names() string {
	var all []string
	for k := range s.given {
		if name, ok := strings.CutPrefix(k, Systemd+"|"); ok {
			all = append(all, name)
		}
	}
	if len(all) == 0 {
		return ", nor any other: was weir started by its .socket unit?"
	}
	slices.Sort(all)
	return "; it has given " + strings.Join(all, ", ")
}

// takeOver makes a listener of a descriptor, which it closes: the listener has its own. The path of a unix socket is the
// other process's until we serve: if we fail before, it goes on there.
func (s *Set) takeOver(f *os.File) (net.Listener, error) {
	ln, err := net.FileListener(f)
	_ = f.Close()
	if u, ok := ln.(*net.UnixListener); ok {
		s.taken = append(s.taken, u)
	}
	return ln, err
}

// bind opens a new socket. A path of a unix socket that nobody listens on any more is taken over.
func bind(network, target string) (net.Listener, error) {
	ln, err := net.Listen(network, target)
	if err == nil || network != "unix" || !errors.Is(err, syscall.EADDRINUSE) {
		return ln, err
	}
	if c, dialErr := net.Dial("unix", target); dialErr == nil {
		_ = c.Close()
		return nil, err
	}
	if info, statErr := os.Lstat(target); statErr != nil || info.Mode().Type() != os.ModeSocket {
		return nil, err
	}
	if err := os.Remove(target); err != nil {
		return nil, err
	}
	return net.Listen("unix", target)
}

// Reason takes the address out of an error of listening, for it will be printed beside it.
func Reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// Ready says that the process serves: sockets that it was given and has no use for are closed, and the weir that it
// replaces, if there is one, is told to go.
func (s *Set) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, files := range s.given {
		if strings.HasPrefix(k, Systemd+"|") {
			continue
		}
		for _, f := range files {
			_ = f.Close()
		}
		delete(s.given, k)
	}
	for _, u := range s.taken {
		u.SetUnlinkOnClose(true)
	}
	s.taken = nil
	if s.ready == nil {
		return nil
	}
	_, err := s.ready.Write([]byte{1})
	_ = s.ready.Close()
	s.ready = nil
	return err
}
