//go:build !unix

package netio

type peeker struct{}

func (c *Conn) peek() (quiet, ok bool) { return false, false }
