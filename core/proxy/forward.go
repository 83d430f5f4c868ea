package proxy

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/wire"
)

// maxPasses is how often a request may have been through this weir already: more is a loop.
const maxPasses = 10

var (
	nameVia   = []byte("Via")
	nameAllow = []byte("Allow")

	errLoop   = fault.New(fault.Loop, "came by again and again: a loop of proxies")
	errMethod = fault.New(fault.GuestFailed, "a filter made a method that can't be sent")
	errTarget = fault.New(fault.GuestFailed, "a filter made a target that can't be sent")
	errHost   = fault.New(fault.GuestFailed, "a filter made a host that can't be sent")

	errUpgrade = fault.New(fault.GuestFailed, "a filter made a handshake that the client has not begun")
)

// looped refuses what goes round in circles. Only the name in Via can tell.
func (w *walk) looped() error {
	if v := w.p.Via; v != nil && v.Passes(&w.x.Request.Header) > maxPasses {
		return errLoop
	}
	return nil
}

// sendable checks what filters may have changed of the request's frame: what was read from the client has been checked
// already, and what is sent must be as good.
func (w *walk) sendable() error {
	r := &w.x.Request
	if w.trail.n == 0 {
		return nil
	}
	if r.Upgrade && string(r.Method) != "GET" {
		r.Upgrade = false // with another method it is no handshake, and still a request
	}
	switch {
	case r.Upgrade && !w.upgrade:
		return errUpgrade
	case !validMethod(r.Method):
		return errMethod
	case !validTarget(r.Target, r.Method):
		return errTarget
	case len(r.Host) > 0 && !wire.ValidHost(r.Host):
		return errHost
	}
	return nil
}

// validMethod takes the methods that a client may send, in the length that it may have.
func validMethod(m []byte) bool {
	for _, c := range m {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return len(m) > 0 && len(m) <= 32 && string(m) != "CONNECT" && string(m) != "TRACE"
}

func validTarget(t, method []byte) bool {
	for _, c := range t {
		if c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return len(t) > 0 && (t[0] == '/' || string(t) == "*" && string(method) == "OPTIONS")
}

// hops answers an OPTIONS that may go no further, and counts the others down (RFC 9110 §7.6.2). It reports whether there is
// an answer.
func (w *walk) hops() bool {
	x := w.x
	if string(x.Request.Method) != "OPTIONS" {
		return false
	}
	h := &x.Request.Header
	left, ok := number(h.GetID(exchange.MaxForwards))
	if !ok {
		return false // there is none, or one that says nothing
	}
	if left > 0 {
		x.Scratch = strconv.AppendInt(x.Scratch[:0], left-1, 10)
		h.SetID(exchange.MaxForwards, x.Scratch)
		return false
	}
	x.Response.Local, x.Response.Status = true, 200
	x.Response.Header.Append(nameAllow, w.rt.Methods, exchange.Other)
	return true
}

// via adds weir to those that have passed a message on.
func (w *walk) via(h *exchange.Header, version int) {
	if v := w.p.Via; v != nil {
		h.Append(nameVia, v.Value(version), exchange.Via)
	}
}

// portOf is the port in a host, or the one that the protocol has.
func portOf(host, proto []byte) []byte {
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && i > bytes.IndexByte(host, ']') && isPort(host[i+1:]) {
		return host[i+1:]
	}
	if len(proto) == len(https) {
		return port443
	}
	return port80
}

var port80, port443 = []byte("80"), []byte("443")

func isPort(p []byte) bool {
	n, ok := number(p)
	return ok && n > 0 && n <= 65535
}

// number reads digits, nine at most.
func number(b []byte) (n int64, ok bool) {
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(b) > 0 && len(b) < 10
}
