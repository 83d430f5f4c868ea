package wire

import (
	"io"
	"net"
	"time"
)

// script is a connection that gives its pieces one a read, and then end.
type script struct {
	pieces []string
	end    error // io.EOF without
	wrote  []byte
}

func (s *script) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(s.pieces) > 0 {
		n := copy(p, s.pieces[0])
		if s.pieces[0] = s.pieces[0][n:]; s.pieces[0] == "" {
			s.pieces = s.pieces[1:]
		}
		if n > 0 {
			return n, nil
		}
	}
	if s.end != nil {
		return 0, s.end
	}
	return 0, io.EOF
}

func (s *script) Write(p []byte) (int, error) {
	s.wrote = append(s.wrote, p...)
	return len(p), nil
}

func (*script) Close() error                     { return nil }
func (*script) LocalAddr() net.Addr              { return nil }
func (*script) RemoteAddr() net.Addr             { return nil }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

// bytewise cuts s into pieces of n bytes.
func bytewise(s string, n int) (pieces []string) {
	for len(s) > n {
		pieces = append(pieces, s[:n])
		s = s[n:]
	}
	return append(pieces, s)
}

// Script and Pieces are for tests that stand outside, because what they import imports this package.
type Script = script

func (s *script) Play(pieces []string) { s.pieces = pieces }

var Bytewise = bytewise
