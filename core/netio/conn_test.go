package netio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/pool"
)

func TestReadAndEnd(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		go func() {
			_, _ = peer.Write([]byte("hello"))
			peer.Close()
		}()
		buf := make([]byte, 3)
		if n, err := c.Read(nil); n != 0 || err != nil {
			t.Errorf("read of nothing: %d %v", n, err)
		}
		var got []byte
		for len(got) < 5 {
			n, err := c.Read(buf)
			if n == 0 || err != nil {
				t.Fatalf("%d %v", n, err)
			}
			got = append(got, buf[:n]...)
		}
		if string(got) != "hello" {
			t.Errorf("%q", got)
		}
		for range 2 {
			if n, err := c.Read(buf); n != 0 || err != io.EOF {
				t.Errorf("at the end: %d %v", n, err)
			}
		}
		if b, n, err := c.ReadPooled(100); n != 0 || err != io.EOF {
			t.Errorf("at the end, pooled: %d %v", n, err)
		} else {
			pool.Release(b)
		}
		c.Close()
		if _, err := c.Read(buf); err == nil || err == io.EOF && kind != "tls" {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestReadPooled(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		for i, s := range []string{"hello", "world", strings.Repeat("x", pool.Small)} {
			if i == 1 {
				send(t, peer, s) // there before it is asked for
				time.Sleep(5 * time.Millisecond)
			} else {
				time.AfterFunc(5*time.Millisecond, func() { _, _ = peer.Write([]byte(s)) })
			}
			var got []byte
			for len(got) < len(s) {
				buf, n, err := c.ReadPooled(100)
				if n == 0 || err != nil || len(buf) < 100 {
					t.Fatalf("%d of %d: %v", n, len(buf), err)
				}
				got = append(got, buf[:n]...)
				pool.Release(buf)
			}
			if string(got) != s {
				t.Errorf("%.20q", got)
			}
		}
		// A deadline leaves no buffer behind, and the connection can be read on.
		c.ReadBy(clock.Nano(), time.Millisecond)
		buf, n, err := c.ReadPooled(100)
		pool.Release(buf)
		if n != 0 || !IsTimeout(err) {
			t.Errorf("%d %v", n, err)
		}
		c.ReadBy(clock.Nano(), 0)
		send(t, peer, "z")
		if buf, n, err = c.ReadPooled(100); n != 1 || err != nil || buf[0] != 'z' {
			t.Errorf("%d %v", n, err)
		}
		pool.Release(buf)
	})
}

// TestPooledBuffersAreLentOnce reads on many connections at once and looks whether anybody writes into a buffer that
// somebody else holds.
func TestPooledBuffersAreLentOnce(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 8 {
		c, peer := dial(t, "tcp")
		mark := bytes.Repeat([]byte{byte('a' + i)}, 1000)
		wg.Go(func() {
			for range 300 {
				_, _ = peer.Write(mark)
				if i%3 == 0 {
					runtime.Gosched()
				}
			}
			peer.Close()
		})
		wg.Go(func() {
			total := 0
			for {
				buf, n, err := c.ReadPooled(pool.Small)
				runtime.Gosched()
				for _, b := range buf[:n] {
					if b != mark[0] {
						t.Errorf("%q in a buffer of %q", b, mark[0])
						break
					}
				}
				total += n
				pool.Release(buf)
				if err != nil {
					break
				}
			}
			if total != 300*len(mark) {
				t.Errorf("%d bytes", total)
			}
		})
	}
	wg.Wait()
}

func TestWriteMoreThanFits(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		data := make([]byte, 8<<20)
		for i := range data {
			data[i] = byte(i * 7 >> 3)
		}
		read := make(chan []byte)
		go func() {
			time.Sleep(10 * time.Millisecond)
			all, _ := io.ReadAll(io.LimitReader(peer, int64(len(data))))
			read <- all
		}()
		if n, err := c.Write(nil); n != 0 || err != nil {
			t.Errorf("write of nothing: %d %v", n, err)
		}
		if n, err := c.Write(data); n != len(data) || err != nil {
			t.Errorf("%d %v", n, err)
		}
		if !bytes.Equal(<-read, data) {
			t.Error("not what was written")
		}
	})
}

func TestDeadlines(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		late := func(what string, call func() error) {
			t.Helper()
			began := time.Now()
			err := call()
			took := time.Since(began)
			if !IsTimeout(err) || errors.Is(err, ErrAborted) {
				t.Errorf("%s: %v", what, err)
			}
			// 30 ms, and up to 50 ms of slack; the rest is the machine's.
			if took < 29*time.Millisecond || took > time.Second {
				t.Errorf("%s fired after %v", what, took)
			}
		}
		buf := make([]byte, 1)
		for range 2 { // once it has fired it is set anew
			late("ReadBy", func() error {
				c.ReadBy(clock.Nano(), 30*time.Millisecond)
				_, err := c.Read(buf)
				return err
			})
		}
		late("a shorter ReadBy", func() error {
			c.ReadBy(clock.Nano(), time.Hour)
			c.ReadBy(clock.Nano(), 30*time.Millisecond)
			_, err := c.Read(buf)
			return err
		})
		// 0 disarms, and a later one moves the deadline on.
		for _, d := range []time.Duration{0, time.Hour} {
			c.ReadBy(clock.Nano(), 10*time.Millisecond)
			c.ReadBy(clock.Nano(), d)
			time.AfterFunc(80*time.Millisecond, func() { _, _ = peer.Write([]byte("x")) })
			if n, err := c.Read(buf); n != 1 || err != nil {
				t.Errorf("deadline of %v: %d %v", d, n, err)
			}
		}
		late("WriteBy", func() error {
			c.WriteBy(clock.Nano(), 30*time.Millisecond)
			_, err := c.Write(make([]byte, 32<<20))
			return err
		})
		c.Reset() // TLS would wait to say goodbye
	})
}

// TestSlack: on a busy connection the deadline is not set at every call.
func TestSlack(t *testing.T) {
	var by int64
	f := func(now int64, d time.Duration, want bool) {
		t.Helper()
		if got := moved(&by, now, d); got != want {
			t.Errorf("at %v, for %v: %v, now %v", time.Duration(now), d, got, time.Duration(by))
		}
		if want := now + int64(d); d > 0 && (by < want || by > want+slack) {
			t.Errorf("at %v, for %v: fires at %v", time.Duration(now), d, time.Duration(by))
		}
	}
	const ms = int64(time.Millisecond)
	f(1, 0, false)
	f(1, time.Second, true)
	f(2, time.Second, false)
	f(25*ms, time.Second, false)
	f(26*ms, time.Second, true)
	f(26*ms, 2*time.Second, true)
	f(26*ms, time.Second, true)
	f(26*ms, 0, true)
	f(26*ms, 0, false)
	f(26*ms, -1, false)
}

func TestAbort(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		ended := make(chan error, 2)
		go func() { _, err := c.Read(make([]byte, 1)); ended <- err }()
		go func() { _, err := c.Write(make([]byte, 32<<20)); ended <- err }()
		time.Sleep(5 * time.Millisecond)
		if c.Aborted() {
			t.Error("not yet")
		}
		c.Abort()
		for range 2 {
			if err := <-ended; err != ErrAborted {
				t.Errorf("blocked call: %v", err)
			}
		}
		// It sticks, though the owner sets deadlines and the peer sends.
		go func() { _, _ = io.Copy(io.Discard, peer) }()
		for range 3 {
			c.ReadBy(clock.Nano(), 0)
			c.ReadBy(clock.Nano(), time.Hour)
			c.WriteBy(clock.Nano(), time.Minute)
			buf, _, err := c.ReadPooled(1)
			pool.Release(buf)
			if err != ErrAborted {
				t.Errorf("later ReadPooled: %v", err)
			}
			if _, err := c.Read(make([]byte, 1)); err != ErrAborted {
				t.Errorf("later Read: %v", err)
			}
			// TLS tells every write after one that failed of the first.
			if _, err := c.Write([]byte("x")); !errors.Is(err, ErrAborted) {
				t.Errorf("later Write: %v", err)
			}
		}
		if !c.Aborted() {
			t.Error("aborted")
		}
	})
}

func TestAbortRead(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		ended := make(chan error, 1)
		go func() { _, err := c.Read(make([]byte, 1)); ended <- err }()
		time.Sleep(5 * time.Millisecond)
		c.AbortRead()
		if err := <-ended; err != ErrAborted {
			t.Errorf("blocked Read: %v", err)
		}
		c.ReadBy(clock.Nano(), time.Hour)
		if _, err := c.Read(make([]byte, 1)); err != ErrAborted || c.Aborted() {
			t.Errorf("later Read: %v", err)
		}
		got := make(chan string)
		go func() {
			buf := make([]byte, 5)
			_, _ = io.ReadFull(peer, buf)
			got <- string(buf)
		}()
		if n, err := c.Write([]byte("hello")); n != 5 || err != nil {
			t.Errorf("Write: %d %v", n, err)
		}
		if s := <-got; s != "hello" {
			t.Errorf("%q", s)
		}
		// A write that is too slow is late, not aborted.
		c.WriteBy(clock.Nano(), time.Millisecond)
		if _, err := c.Write(make([]byte, 32<<20)); !IsTimeout(err) {
			t.Errorf("slow Write: %v", err)
		}
		c.Reset() // TLS would wait to say goodbye
	})
}

func TestReset(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			c, peer := dial(t, kind)
			c.Reset()
			if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the peer sees %v", err)
			}
			c.Close()
		})
	}
	for _, kind := range []string{"unix", "pipe"} {
		c, peer := dial(t, kind)
		c.Reset()
		if _, err := peer.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s is still open", kind)
		}
	}
}

func TestHalfClose(t *testing.T) {
	for _, kind := range []string{"tcp", "unix", "tls"} {
		t.Run(kind, func(t *testing.T) {
			c, peer := dial(t, kind)
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the peer sees %v", err)
			}
			send(t, peer, "x")
			if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Errorf("the other way: %d %v", n, err)
			}
		})
	}
	c, _ := dial(t, "pipe")
	if err := c.CloseWrite(); err != nil {
		t.Error(err)
	}
}

func TestWriteToTheGone(t *testing.T) {
	for _, kind := range []string{"tcp", "unix", "pipe"} {
		c, peer := dial(t, kind)
		New(peer).Reset()
		var err error
		for range 100 {
			if _, err = c.Write([]byte("x")); err != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if err == nil || IsTimeout(err) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
