package server

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// gone reports whether the other end of a socket has left: by a reset, or, unless halfClose is allowed, by ending its
// side. Nothing is read: bytes of a next request may lie in front of the end.
func gone(raw syscall.RawConn, halfClose bool) bool {
	const dead = unix.POLLERR | unix.POLLHUP
	if halfClose {
		return poll(raw, 0)&dead != 0
	}
	return poll(raw, unix.POLLRDHUP)&(dead|unix.POLLRDHUP) != 0
}

// readable reports whether a read would give something at once.
func readable(raw syscall.RawConn) bool { return poll(raw, unix.POLLIN)&unix.POLLIN != 0 }

// poll asks for the state of a socket without waiting. Of one that is closed already it says nothing.
func poll(raw syscall.RawConn, events int16) (state int16) {
	if raw == nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
		if n, err := unix.Poll(fds[:], 0); n == 1 && err == nil {
			state = fds[0].Revents
		}
	})
	return state
}
