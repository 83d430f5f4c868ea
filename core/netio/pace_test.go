package netio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/pool"
)

// small makes the buffers between c and peer hold little, so that a slow reader is noticed.
func small(c *Conn, peer net.Conn) {
	for _, nc := range []net.Conn{base(c), base(peer)} {
		if b, ok := nc.(interface{ SetReadBuffer(int) error }); ok {
			_ = b.SetReadBuffer(64 << 10)
		}
		if b, ok := nc.(interface{ SetWriteBuffer(int) error }); ok {
			_ = b.SetWriteBuffer(32 << 10)
		}
	}
}

// drip reads n bytes at a time, with a pause before each, and gives all of them at the end.
func drip(peer net.Conn, n int, pause time.Duration) <-chan []byte {
	all := make(chan []byte, 1)
	go func() {
		var got []byte
		buf := make([]byte, n)
		for {
			time.Sleep(pause)
			m, err := peer.Read(buf)
			got = append(got, buf[:m]...)
			if err != nil {
				all <- got
				return
			}
		}
	}()
	return all
}

// TestProgressRenewsTheDeadline: one large write to a reader that is slow and steady lasts far longer than the peer may be
// idle.
func TestProgressRenewsTheDeadline(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		if kind == "pipe" {
			return // of a pipe's write nobody can see how far it is
		}
		small(c, peer)
		const idle = 300 * time.Millisecond
		data := bytes.Repeat([]byte("0123456789abcdef"), 512<<10)
		got := drip(peer, 32<<10, 5*time.Millisecond)
		began := time.Now()
		c.WriteBy(clock.Nano(), idle)
		if n, err := c.Write(data); n != len(data) || err != nil {
			t.Errorf("%d %v", n, err)
		}
		if took := time.Since(began); took < 2*idle {
			t.Errorf("took %v: nothing was shown", took)
		}
		c.Close()
		if all := <-got; !bytes.Equal(all, data) {
			t.Errorf("%d bytes came of %d", len(all), len(data))
		}
	})
}

// TestProgressInTheKernel: behind a large buffer a slow reader's progress does not make a write possible for long.
func TestProgressInTheKernel(t *testing.T) {
	c, peer := dial(t, "tcp")
	if c.raw == nil {
		return // nobody asks the kernel there
	}
	small(c, peer)
	_ = base(c).(*net.TCPConn).SetWriteBuffer(2 << 20)
	got := drip(peer, 16<<10, 10*time.Millisecond) // a third of the buffer takes most of a second
	c.WriteBy(clock.Nano(), 150*time.Millisecond)
	if n, err := c.Write(make([]byte, 6<<20)); n != 6<<20 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	c.Reset()
	<-got
}

func TestIdleWriteEnds(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		small(c, peer)
		began := time.Now()
		c.WriteBy(clock.Nano(), 50*time.Millisecond)
		_, err := c.Write(make([]byte, 8<<20))
		if took := time.Since(began); !IsTimeout(err) || errors.Is(err, ErrSlow) || took > time.Second {
			t.Errorf("%v after %v", err, took)
		}
		c.Reset()
	})
}

// TestPaceOfWrites: a reader that makes progress, but less than its pace asks for, is cut when its credit is spent; one that
// keeps it is not.
func TestPaceOfWrites(t *testing.T) {
	for _, kind := range []string{"tcp", "unix", "tls"} {
		for _, rate := range []int64{1 << 10, 1 << 30} {
			c, peer := dial(t, kind)
			small(c, peer)
			got := drip(peer, 32<<10, 5*time.Millisecond) // some 5 MB/s
			c.PaceWrites(rate)
			c.lowest().outPace.left = 500 * time.Millisecond
			c.WriteBy(clock.Nano(), time.Minute)
			began := time.Now()
			_, err := c.Write(make([]byte, 4<<20))
			took := time.Since(began)
			switch {
			case rate == 1<<10 && err != nil:
				t.Errorf("%s: fast enough, and %v after %v", kind, err, took)
			case rate > 1<<10 && (!errors.Is(err, ErrSlow) || !IsTimeout(err) || took > 3*time.Second):
				t.Errorf("%s: too slow, and %v after %v", kind, err, took)
			}
			c.Reset()
			<-got
		}
	}
}

func TestPaceOfReads(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		stop := make(chan struct{})
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
					_ = peer.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
					_, _ = peer.Write([]byte("0123456789"))
				}
			}
		}()
		defer func() { close(stop); <-sent }()
		read := func() error {
			c.ReadBy(clock.Nano(), time.Minute)
			_, err := c.Read(make([]byte, 100))
			return err
		}
		// Some 2,000 bytes a second: enough for a pace of 100.
		c.PaceReads(100)
		c.lowest().inPace.left = time.Second // a busy machine may stop for a while
		for range 60 {
			if err := read(); err != nil {
				t.Fatal(err)
			}
		}
		c.PaceReads(1 << 20)
		c.lowest().inPace.left = 100 * time.Millisecond
		began := time.Now()
		err := read()
		for err == nil {
			err = read()
		}
		if took := time.Since(began); !errors.Is(err, ErrSlow) || !IsTimeout(err) || took < 50*time.Millisecond || took > time.Second {
			t.Errorf("%v after %v", err, took)
		}
		// It can be read on, without a pace.
		c.PaceReads(0)
		for range 60 {
			if err := read(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestPauseOfReads: bytes earn a pause also if they were there before they were read, and a longer one than the first grace.
func TestPauseOfReads(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		c.PaceReads(100)
		c.lowest().inPace.left = 50 * time.Millisecond
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = peer.Write(make([]byte, 2000))
		}()
		time.Sleep(10 * time.Millisecond) // so that no read waits
		c.ReadBy(clock.Nano(), time.Minute)
		if _, err := io.ReadFull(c, make([]byte, 2000)); err != nil {
			t.Fatal(err)
		}
		<-sent
		if left := c.lowest().inPace.left; left <= Grace {
			t.Errorf("2,000 bytes at 100 a second earn %s", left)
		}
		time.AfterFunc(200*time.Millisecond, func() { _, _ = peer.Write([]byte("x")) })
		c.ReadBy(clock.Nano(), time.Minute)
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("%d %v after a pause", n, err)
		}
	})
}

// TestEndPace lets a read that is blocked wait on for as long as its own deadline allows.
func TestEndPace(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		c.PaceReads(1 << 20)
		c.lowest().inPace.left = 30 * time.Millisecond
		time.AfterFunc(5*time.Millisecond, c.EndPace)
		time.AfterFunc(150*time.Millisecond, func() { _, _ = peer.Write([]byte("x")) })
		c.ReadBy(clock.Nano(), time.Minute)
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("%d %v", n, err)
		}
		c.PaceReads(1 << 20)
		c.lowest().inPace.left = 30 * time.Millisecond
		time.AfterFunc(5*time.Millisecond, c.EndPace)
		c.ReadBy(clock.Nano(), 80*time.Millisecond)
		if _, err := c.Read(make([]byte, 1)); !IsTimeout(err) || errors.Is(err, ErrSlow) {
			t.Error(err)
		}
	})
}

func TestResume(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		for i, end := range []func(){c.AbortRead, c.Abort, func() { c.Hasten(0) }} {
			c.ReadBy(clock.Nano(), time.Minute)
			time.AfterFunc(5*time.Millisecond, end)
			buf, n, err := c.ReadPooled(1)
			pool.Release(buf)
			if n != 0 || i < 2 && err != ErrAborted || i == 2 && !IsTimeout(err) {
				t.Fatalf("%d: %d %v", i, n, err)
			}
			c.Resume()
			if c.Aborted() {
				t.Error("still aborted")
			}
			send(t, peer, "x")
			c.ReadBy(clock.Nano(), time.Minute)
			if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Fatalf("%d: %d %v", i, n, err)
			}
			got := make(chan byte)
			go func() {
				var b [1]byte
				_, _ = io.ReadFull(peer, b[:])
				got <- b[0]
			}()
			if _, err := c.Write([]byte("y")); err != nil || <-got != 'y' {
				t.Fatalf("%d: %v", i, err)
			}
		}
	})
}

func TestWriteAll(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		var want []byte
		written := make(chan struct{})
		go func() {
			defer close(written)
			for _, n := range []int{0, 1, 100, 64 << 10, 1 << 20} {
				for i := range 8 {
					part := func(bit, n int, b byte) []byte {
						if i&bit == 0 {
							return nil
						}
						return bytes.Repeat([]byte{b}, n)
					}
					a, b, z := part(1, 5, 'a'), part(2, n, 'b'), part(4, 2, 'z')
					want = append(append(append(want, a...), b...), z...)
					if err := c.WriteAll(a, b, z); err != nil {
						t.Error(err)
					}
				}
			}
			c.Close()
		}()
		got, err := io.ReadAll(peer)
		<-written
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes of %d: %v", len(got), len(want), err)
		}
	})
}
