package h2

import (
	"io"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/pool"
)

// input is the reading side of a connection, of the reading goroutine alone. Between frames it holds no buffer: a
// connection that waits costs none.
type input struct {
	c     *conn
	ahead []byte // read by somebody before us
	buf   []byte // lent by pool; buf[r:n] has been read and not yet used
	r, n  int
	size  int   // of the next buffer
	last  int64 // clock.Nano when bytes last came
	err   error // how the connection ended
}

// Read is io.Reader's. It returns within the connection's patience, and has what others wait for written before it waits.
func (in *input) Read(p []byte) (int, error) {
	if len(in.ahead) > 0 {
		n := copy(p, in.ahead)
		in.ahead = in.ahead[n:]
		return n, nil
	}
	if in.r == in.n {
		if len(p) >= pool.Small { // a large payload need not be copied twice
			return in.wait(p)
		}
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.buf[in.r:in.n])
	in.r += n
	return n, nil
}

// full reads all of p.
func (in *input) full(p []byte) error {
	_, err := io.ReadFull(in, p)
	return err
}

// discard reads n bytes that nobody wants.
func (in *input) discard(n int) error {
	var scratch [512]byte
	for n > 0 {
		m, err := in.Read(scratch[:min(n, len(scratch))])
		if err != nil {
			return err
		}
		n -= m
	}
	return nil
}

func (in *input) fill() error {
	in.release()
	size := pool.Small
	if in.size > size {
		size = in.size
	}
	_, err := in.waitPooled(size)
	if in.n == len(in.buf) {
		in.size = pool.Large // a peer that sends much is read in larger pieces
	} else if in.n < pool.Small {
		in.size = pool.Small
	}
	return err
}

// wait reads into p.
func (in *input) wait(p []byte) (int, error) {
	for {
		if err := in.arm(); err != nil {
			return 0, err
		}
		n, err := in.c.nc.Read(p)
		if done, err := in.came(n, err); done {
			return n, err
		}
	}
}

// waitPooled reads into a buffer of its own, lent when there is something to read.
func (in *input) waitPooled(size int) (int, error) {
	for {
		if err := in.arm(); err != nil {
			return 0, err
		}
		buf, n, err := in.c.nc.ReadPooled(size)
		if n > 0 {
			in.buf, in.r, in.n = buf, 0, n
		} else {
			pool.Release(buf)
		}
		if done, err := in.came(n, err); done {
			return n, err
		}
	}
}

// arm sets the deadline of the next read, and has written what the reading goroutine has left to be.
func (in *input) arm() error {
	in.c.settle()
	now := clock.Nano()
	left, err := in.c.patience(now)
	if err == nil {
		in.c.nc.ReadBy(now, left)
	} else {
		in.err = err
	}
	return err
}

// came reports whether a read is over: a deadline that was only there to look again is not its end.
func (in *input) came(n int, err error) (done bool, _ error) {
	if n > 0 {
		in.last = clock.Nano()
		return true, nil
	}
	if netio.IsTimeout(err) {
		return false, nil
	}
	in.err = err
	return true, err
}

func (in *input) release() {
	pool.Release(in.buf)
	in.buf, in.r, in.n = nil, 0, 0
}
