package server

import (
	"net"
	"os"
	"syscall"
	"time"

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

// queued takes the connections that the kernel has accepted, or is about to accept, for ln, which will be closed next.
// Between the last of them and the close none may come, for it would be reset: new ones are kept from beginning, as if their
// first packet had been lost. Their clients try again a second later, and learn that nobody listens.
func queued(ln net.Listener) (all []net.Conn) {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(fd uintptr) {
		if _, ok := ln.(*net.TCPListener); ok {
			program := unix.SockFprog{Len: uint16(len(noSYN)), Filter: &noSYN[0]}
			_ = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
			time.Sleep(handshakeOnItsWay)
		}
		all = takeQueue(int(fd))
	})
	return all
}

// handshakeOnItsWay is how long the last packet of a handshake that has begun may take.
const handshakeOnItsWay = 20 * time.Millisecond

// noSYN lets through what is no SYN: it looks at the flags, in the 14th byte of the TCP header.
var noSYN = [...]unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13},
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 2, Jt: 0, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
}

// takeQueue accepts until there is nothing more, or no descriptor left.
func takeQueue(fd int) (all []net.Conn) {
	for {
		n, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			f := os.NewFile(uintptr(n), "")
			if nc, err := net.FileConn(f); err == nil { // which has a descriptor of its own
				all = append(all, nc)
			}
			_ = f.Close()
		case unix.EINTR, unix.ECONNABORTED:
		default:
			return all
		}
	}
}

// unsentMost bounds what the kernel holds for a client that does not read, in bytes; else it would be the send buffer's
// 4 MiB, and a thousand such clients would have all the memory that the machine gives to TCP.
const unsentMost = 256 << 10

// boundUnsent does so for the connections that ln will accept: they inherit it.
func boundUnsent(ln net.Listener) {
	if t, ok := ln.(*net.TCPListener); ok {
		if raw, err := t.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentMost)
			})
		}
	}
}
