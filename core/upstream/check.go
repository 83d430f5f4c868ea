package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/h2"
	"github.com/weirproxy/weir/core/netio"
)

// check asks e for path over a connection of its own, in the protocol that requests are sent in, and gives nil if the answer is 2xx or 3xx. A
// connection of its own tells what a new one would meet; and the answer of one that is kept may be an old worker's.
func (e *Endpoint) check(ctx context.Context, path string) error {
	if e.transport.Protocol == HTTP2 {
		return e.checkH2(ctx, path)
	}
	network, address := "tcp", e.options.Address
	if p, ok := cutUnix(address); ok {
		network, address = "unix", p
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	defer c.Close()
	// Closing is what ends reads and writes, at the deadline too: that leaves no goroutine to wait for.
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if e.transport.ProxyProtocol != ProxyOff {
		if err := e.introduce(c, &exchange.Client{}); err != nil {
			return late(ctx, err)
		}
	}
	if e.options.TLS != nil {
		t := e.options.TLS.Clone()
		t.NextProtos = []string{"http/1.1"}
		c = tls.Client(c, t)
	}
	host := e.options.Host
	if host == "" {
		host = e.options.Address
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: weir-health-check\r\nAccept: */*\r\nConnection: close\r\n\r\n", path, host); err != nil {
		return late(ctx, err)
	}
	br := bufio.NewReader(c)
	status, err := readStatus(br)
	if err != nil {
		return late(ctx, err)
	}
	if status < 200 || status > 399 {
		return fmt.Errorf("status %d", status)
	}
	// Taken off the wire, so that closing is no reset to the endpoint; what is longer, or slower, is not worth waiting for.
	_ = c.SetReadDeadline(time.Now().Add(checkRest))
	_, _ = io.CopyN(io.Discard, br, 64<<10)
	return nil
}

// checkH2 is check in HTTP/2.
func (e *Endpoint) checkH2(ctx context.Context, path string) error {
	nc, err := e.connect(ctx, &exchange.Client{})
	if err != nil {
		return late(ctx, err)
	}
	c := h2.NewClient(netio.New(nc), h2.Settings{HeaderBytes: e.transport.HeaderBytes})
	defer func() {
		c.Abort(errChecked)
		<-c.Ended()
	}()
	defer context.AfterFunc(ctx, func() { c.Abort(errChecked) })()
	k, err := c.Open()
	if err != nil {
		return err
	}
	defer k.Close()
	x := exchange.Acquire()
	defer exchange.Release(x)
	x.Request.Method, x.Request.Target = []byte("GET"), []byte(path)
	x.Request.Header.AddString("user-agent", []byte("weir-health-check"))
	if err := k.WriteHead(&x.Request, e.Host, e.options.TLS != nil, 0); err != nil {
		return late(ctx, err)
	}
	limits := limitsOf(e.transport)
	for range maxInformational {
		x.ClearResponse()
		if err := k.ReadHead(x, &limits, 0, 0); err != nil {
			return late(ctx, err)
		}
		if status := x.Response.Status; status >= 400 {
			return fmt.Errorf("status %d", status)
		} else if status > 199 {
			return nil
		}
	}
	return errInformational
}

var errChecked = fault.New(fault.UpstreamReset, "health check is over")

const checkRest = 100 * time.Millisecond

// late says that time was over, if that is why err came.
func late(ctx context.Context, err error) error {
	if ctx.Err() == context.DeadlineExceeded {
		return fmt.Errorf("no answer in time")
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
