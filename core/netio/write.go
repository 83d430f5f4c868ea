package netio

import (
	"errors"
	"os"
	"sync"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/pool"
)

// Write writes all of p or gives an error. It may take long: see WriteBy.
func (c *Conn) Write(p []byte) (int, error) {
	if c.cork != nil {
		return c.cork.write(c, p)
	}
	if c.under != nil {
		n, err := c.nc.Write(p)
		return n, c.went(err)
	}
	c.out.parts = [3][]byte{p}
	return c.writeParts()
}

// WriteAll writes a, b and z, one behind the other, in one system call if the peer takes them. Any may be empty.
func (c *Conn) WriteAll(a, b, z []byte) error {
	if c.under == nil {
		c.out.parts = [3][]byte{a, b, z}
		_, err := c.writeParts()
		return err
	}
	// TLS makes several records of them, and of long ones; they are gathered.
	if c.under.cork == nil {
		c.under.cork = &cork{}
	}
	c.under.cork.begin()
	var err error
	for _, p := range [...][]byte{a, b, z} {
		if len(p) > 0 && err == nil {
			_, err = c.nc.Write(p)
		}
	}
	if e := c.under.cork.end(c.under); err == nil {
		err = e
	}
	return c.went(err)
}

// writeParts writes c.out.parts.
func (c *Conn) writeParts() (n int, err error) {
	t := &c.out
	t.at, t.n, t.blocked = 0, 0, 0
	if c.raw == nil {
		err = c.writePlain()
	} else {
		err = c.writeRaw()
	}
	t.parts = [3][]byte{}
	return t.n, c.went(err)
}

// writePlain writes by nc's own method.
func (c *Conn) writePlain() error {
	t := &c.out
	for t.rest() {
		if c.outPace.on() {
			t.blocked = clock.Nano()
		}
		n, err := c.nc.Write(t.parts[t.at])
		t.advance(n)
		switch {
		case err == nil:
			c.writeAt = clock.Nano()
			if t.blocked != 0 {
				c.outPace.waited(c.writeAt-t.blocked, n)
			}
		case !(IsTimeout(err) && c.writeOn(n, &err)):
			return err
		}
	}
	return nil
}

// rest reports whether there is something left to write, which begins at parts[at].
func (t *outgoing) rest() bool {
	for t.at < len(t.parts) && len(t.parts[t.at]) == 0 {
		t.at++
	}
	return t.at < len(t.parts)
}

// advance takes n bytes off what is left.
func (t *outgoing) advance(n int) {
	t.n += n
	for t.rest() && n > 0 {
		m := min(n, len(t.parts[t.at]))
		t.parts[t.at] = t.parts[t.at][m:]
		n -= m
	}
}

// went translates an error of writing.
func (c *Conn) went(err error) error {
	if err != nil && c.aborted.Load() && (errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ErrAborted)) {
		return ErrAborted // TLS wraps it
	}
	return err
}

// cork gathers what the TLS layer writes, record by record, into one system call. TLS may write an answer to a key update
// from the reader's goroutine meanwhile.
type cork struct {
	mu   sync.Mutex
	on   bool
	held []byte // lent by pool while on
	err  error  // sticky: what was gathered is lost, and with it the sequence of records
}

func (k *cork) begin() {
	k.mu.Lock()
	k.on = true
	k.mu.Unlock()
}

func (k *cork) write(c *Conn, p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.on && k.err == nil {
		if k.held == nil {
			k.held = pool.Acquire(pool.Large)[:0]
		}
		if len(k.held)+len(p) <= cap(k.held) {
			k.held = append(k.held, p...)
			return len(p), nil
		}
	}
	return len(p), k.flush(c, p)
}

// end writes what was gathered.
func (k *cork) end(c *Conn) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.flush(c, nil)
	k.on = false
	pool.Release(k.held)
	k.held = nil
	return err
}

func (k *cork) flush(c *Conn, more []byte) error {
	if k.err == nil {
		c.out.parts = [3][]byte{k.held, more}
		_, k.err = c.writeParts()
	}
	k.held = k.held[:0]
	return k.err
}
