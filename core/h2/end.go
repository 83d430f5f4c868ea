package h2

import (
	"errors"
	"time"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/wire"
)

// kill ends the connection for everybody on it, who get f; the first reason stays. mu is held.
func (c *conn) kill(err error, f *fault.Fault) {
	if c.err != nil {
		return
	}
	c.err = err
	for _, s := range c.streams {
		c.drop(s, f)
	}
	c.roomAgain()
}

// sever is kill at once, whatever is still to be written. mu is held.
func (c *conn) sever(err error, f *fault.Fault) {
	c.kill(err, f)
	c.nc.Abort()
}

// lingerTime is how long a peer may take to read the last that it is told.
const lingerTime = 2 * time.Second

// bye ends and closes the connection, for the reason that read gave: the streams on it get f, the peer is told, and has time to read it:
// closing a socket that holds unread bytes would reset it and throw away what was sent.
func (c *conn) bye(err error, last uint32, f *fault.Fault) {
	_ = c.nc.Net().SetWriteDeadline(time.Now().Add(lingerTime)) // of whoever writes
	c.mu.Lock()
	c.kill(err, f)
	c.await()
	var breach *Error
	ours := errors.As(err, &breach) && !breach.Peer
	proper := ours || err == errIdle || err == errEnding
	if ours {
		_ = c.fr.WriteGoAway(last, breach.Code, nil)
	} else if err == errIdle {
		_ = c.fr.WriteGoAway(last, http2.ErrCodeNo, nil)
	}
	p := c.out
	c.out = nil
	c.mu.Unlock()
	if proper && len(p) > 0 {
		c.nc.WriteBy(clock.Nano(), lingerTime)
		_, werr := c.nc.Write(p)
		proper = werr == nil
	}
	pool.Release(p)
	c.in.release()
	releaseSection(c.head.sec)
	if proper && c.side == wire.FromClient {
		c.linger()
	}
	_ = c.nc.Close()
}

// lingerMost bounds how long a peer may take for what the kernel holds for it, if it takes something all the time.
const lingerMost = time.Minute

// linger reads on until the peer has gone, or has had time to read all: what it still sends, windows that nobody needs any
// more, would be answered by a closed socket with a reset.
func (c *conn) linger() {
	_ = c.nc.CloseWrite()
	nc := c.nc.Net()
	buf := pool.Acquire(pool.Medium)
	defer pool.Release(buf)
	owed, end := c.nc.Owed(), clock.Nano()+int64(lingerMost)
	for {
		_ = nc.SetReadDeadline(time.Now().Add(lingerTime))
		for {
			if c.nc.Aborted() {
				return
			}
			if _, err := nc.Read(buf); netio.IsTimeout(err) {
				break
			} else if err != nil {
				return
			}
		}
		left := c.nc.Owed()
		if left >= owed || clock.Nano() > end {
			return
		}
		owed = left
	}
}
