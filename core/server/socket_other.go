//go:build !linux

package server

import (
	"net"
	"syscall"
	"time"
)

// gone is always false where a socket can't be asked: a client that left is noticed when its answer is written.
func gone(syscall.RawConn, bool) bool { return false }

func readable(syscall.RawConn) bool { return false }

// queued takes the connections that the kernel has accepted for ln: those that Accept gives at once.
func queued(ln net.Listener) (all []net.Conn) {
	d, ok := ln.(deadliner)
	for ok {
		_ = d.SetDeadline(time.Now().Add(time.Millisecond))
		nc, err := ln.Accept()
		if err != nil {
			break
		}
		all = append(all, nc)
	}
	return all
}

func boundUnsent(net.Listener) {}
