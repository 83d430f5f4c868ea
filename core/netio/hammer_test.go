package netio

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/pool"
)

// TestAbortHammer aborts connections at any moment of reads, writes and deadlines: every call returns, and after the
// abort none succeeds.
func TestAbortHammer(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			rounds := 60
			if kind == "tls" {
				rounds = 15
			}
			for round := range rounds {
				c, peer := dial(t, kind)
				var wg sync.WaitGroup
				echoed := make(chan struct{})
				go func() {
					defer close(echoed)
					echo(peer)
				}()
				wg.Go(func() {
					for {
						c.ReadBy(clock.Nano(), time.Duration(round%3)*time.Minute)
						buf, _, err := c.ReadPooled(pool.Small)
						pool.Release(buf)
						if err != nil {
							return
						}
					}
				})
				wg.Go(func() {
					for {
						c.WriteBy(clock.Nano(), time.Duration(1+round%3)*time.Minute)
						if _, err := c.Write(make([]byte, 1000)); err != nil {
							return
						}
					}
				})
				wg.Go(func() {
					time.Sleep(time.Duration(round%7) * 300 * time.Microsecond)
					if round%2 == 0 {
						c.AbortRead()
					}
					c.Abort()
				})
				wg.Wait()
				if _, err := c.Read(make([]byte, 1)); err == nil {
					t.Fatal("read after abort")
				}
				c.Reset()
				New(peer).Reset()
				<-echoed
			}
		})
	}
}

// echo writes back a byte for every read, until it can't.
func echo(peer net.Conn) {
	buf := make([]byte, 4096)
	for {
		if _, err := peer.Read(buf); err != nil {
			return
		}
		if _, err := peer.Write(buf[:1]); err != nil {
			return
		}
	}
}
