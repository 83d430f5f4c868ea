//go:build !linux || !(amd64 || arm64) || weir_plainio

package netio

import (
	"net"
	"syscall"
)

// incoming and outgoing are calls in flight; fn, lend and size are for raw calls.
type incoming struct {
	fn      func(fd uintptr) bool
	p       []byte
	lend    bool
	size    int
	blocked int64
}

type outgoing struct {
	fn      func(fd uintptr) bool
	parts   [3][]byte
	at      int
	n       int
	blocked int64
}

func rawOf(net.Conn) syscall.RawConn { return nil }

func (c *Conn) readRaw() (int, error)  { return 0, nil }
func (c *Conn) readSome(uintptr) bool  { return true }
func (c *Conn) writeRaw() error        { return nil }
func (c *Conn) writeSome(uintptr) bool { return true }
func (c *Conn) await() error           { return nil }

// Owed is how many bytes of what was written the peer has not acknowledged; 0 where the platform does not tell.
func (c *Conn) Owed() int { return 0 }
