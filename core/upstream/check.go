package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/h2"
	"github.com/weirproxy/weir/core/netio"
)

// check asks e for path over a connection of its own, in the protocol that e speaks, and gives nil if the answer is 2xx or
// 3xx. A connection of its own tells what a new one would meet; and the answer of one that is kept may be an old worker's.
func (e *Endpoint) check(ctx context.Context, path string) error {
	nc, err := e.connect(ctx, &exchange.Client{}) // nobody's: a PROXY header says LOCAL
	if err != nil {
		return late(ctx, err)
	}
	defer nc.Close()
	// Closing is what ends reads and writes, at the deadline too: that leaves no goroutine to wait for.
	defer context.AfterFunc(ctx, func() { _ = nc.Close() })()
	host := e.options.Host
	if host == "" {
		host = e.options.Address
	}
	ask := e.ask1
	if e.transport.Protocol == HTTP2 {
		ask = e.ask2
	}
	status, err := ask(ctx, nc, host, path)
	if err != nil {
		return late(ctx, err)
	}
	if status < 200 || status > 399 {
		return fmt.Errorf("status %d", status)
	}
	return nil
}

// ask1 asks in HTTP/1.1.
func (e *Endpoint) ask1(_ context.Context, nc net.Conn, host, path string) (int, error) {
	if _, err := fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nAccept: */*\r\nConnection: close\r\n\r\n", path, host, checkAgent); err != nil {
		return 0, err
	}
	br := bufio.NewReader(nc)
	status, err := readStatus(br)
	if err == nil {
		// Taken off the wire, so that closing is no reset to the endpoint; what is longer, or slower, is not worth waiting for.
		_ = nc.SetReadDeadline(time.Now().Add(checkRest))
		_, _ = io.CopyN(io.Discard, br, 64<<10)
	}
	return status, err
}

// ask2 asks in HTTP/2.
func (e *Endpoint) ask2(ctx context.Context, nc net.Conn, host, path string) (int, error) {
	x := exchange.Acquire()
	defer exchange.Release(x)
	r := &x.Request
	r.Method, r.Target, r.Path = []byte("GET"), []byte(path), []byte(path)
	r.Header.AddString("user-agent", []byte(checkAgent))
	r.Body.Init(0, nil)
	t := &e.transport
	v := h2.NewClient(netio.New(nc), h2.Settings{HeaderBytes: t.HeaderBytes})
	defer func() {
		v.Abort(errChecked)
		<-v.Ended()
	}()
	k, err := v.Open()
	if err != nil {
		return 0, err
	}
	defer k.Close()
	// The connection, which is the check's own: the function may run on after ctx has ended everything here, and the call
	// would be another request's by then.
	defer context.AfterFunc(ctx, func() { v.Abort(errChecked) })()
	if err := k.WriteHead(r, []byte(host), e.options.TLS != nil, 0); err != nil {
		return 0, err
	}
	limits := limitsOf(*t)
	for range maxInformational {
		if err := k.ReadHead(x, &limits, 0, 0); err != nil {
			return 0, err
		}
		if x.Response.Status > 199 {
			return x.Response.Status, nil
		}
		x.ClearResponse()
	}
	return 0, errInformational
}

var errChecked = fault.New(fault.Draining, "the check is over")

const checkAgent = "weir-health-check"

const checkRest = 100 * time.Millisecond

// late says that time was over, if that is why err came.
func late(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	return err
}

// readStatus reads the status of the answer, beyond those that are not the last (RFC 9110 §15.2).
func readStatus(br *bufio.Reader) (int, error) {
	for range maxInformational {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		var minor, status int
		if n, err := fmt.Sscanf(string(line), "HTTP/1.%1d %3d", &minor, &status); n != 2 || err != nil || status < 100 {
			return 0, fmt.Errorf("not an answer of HTTP/1.1: %.40q", line)
		}
		if status > 199 {
			return status, nil
		}
		for len(line) > 2 { // to the empty line
			if line, err = br.ReadSlice('\n'); err != nil {
				return 0, err
			}
		}
	}
	return 0, errInformational
}
