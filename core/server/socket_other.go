//go:build !linux

package server

import "syscall"

// gone is always false where a socket can't be asked: a client that left is noticed when its answer is written.
func gone(syscall.RawConn, bool) bool { return false }

func readable(syscall.RawConn) bool { return false }
