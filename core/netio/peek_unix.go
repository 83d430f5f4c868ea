//go:build unix && (!linux || !(amd64 || arm64) || weir_plainio)

package netio

import "syscall"

type peeker struct{}

// peek reports whether the socket is open and has nothing to read; ok is false if c is no socket.
func (c *Conn) peek() (quiet, ok bool) {
	sc, ok := c.nc.(syscall.Conn)
	if !ok {
		return false, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false, true
	}
	_ = raw.Control(func(fd uintptr) {
		for {
			_, _, err := syscall.Recvfrom(int(fd), c.peekByte[:], syscall.MSG_PEEK) // the socket never blocks
			if err != syscall.EINTR {
				quiet = err == syscall.EAGAIN
				return
			}
		}
	})
	return quiet, true
}
