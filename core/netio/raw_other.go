//go:build !linux || !(amd64 || arm64) || weir_plainio

package netio

import (
	"net"
	"syscall"
)

// transfer has no work where reads and writes go through net.Conn.
type transfer struct {
	fn   func(fd uintptr) bool
	p    []byte
	n    int
	err  error
	lend bool
	size int
}

func rawOf(net.Conn) syscall.RawConn { return nil }

func (t *transfer) read(uintptr) bool  { return true }
func (t *transfer) write(uintptr) bool { return true }
func (t *transfer) giveBack()          {}

func (c *Conn) awaitFn() func(uintptr) bool { return nil }
