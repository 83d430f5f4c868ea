//go:build !linux || !(amd64 || arm64) || weir_plainio

package netio

import (
	"net"
	"syscall"
)

// transfer is one direction's call in flight; fn and lend are for raw calls.
type transfer struct {
	fn      func(fd uintptr) bool
	p       []byte
	n       int
	lend    bool
	size    int
	blocked int64
	parts   [3][]byte
	at      int
}

func rawOf(net.Conn) syscall.RawConn { return nil }

func (c *Conn) readRaw() (int, error)  { return 0, nil }
func (c *Conn) readSome(uintptr) bool  { return true }
func (c *Conn) writeRaw() error        { return nil }
func (c *Conn) writeSome(uintptr) bool { return true }
func (c *Conn) await() error           { return nil }
