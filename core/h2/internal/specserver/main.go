// Command specserver answers every request over h2c, for h2spec to look at: go run ./core/h2/internal/specserver 127.0.0.1:8080.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/h2"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/wire"
)

func main() {
	ln, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			v := h2.NewServer(netio.New(nc), h2.Settings{Header: 5 * time.Second, Idle: time.Minute, WriteIdle: time.Minute}, serve)
			fmt.Println(v.Serve(nil))
			_ = nc.Close()
		}()
	}
}

func serve(s *h2.Stream) {
	x := exchange.Acquire()
	defer exchange.Release(x)
	err := s.Begin(x, &wire.Defaults, time.Minute)
	body := []byte("an answer that is long enough for small windows\n")
	buf := make([]byte, 4096)
	for err == nil {
		_, err = x.Request.Body.Next(buf)
	}
	x.Response.Status, x.Response.Local = 200, true
	if err != io.EOF {
		x.Response.Status = 400
	}
	if x.Down.WriteHead(x, int64(len(body))) != nil || x.Down.WriteBody(body, true) != nil || x.Down.Finish(nil) != nil {
		x.Down.Abort()
	}
}
