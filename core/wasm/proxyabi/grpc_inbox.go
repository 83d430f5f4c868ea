package proxyabi

import (
	"encoding/binary"
	"io"
	"strconv"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/wasm"
)

// Statuses of gRPC that weir gives itself.
const (
	rpcOK        = 0
	rpcUnknown   = 2
	rpcLate      = 4
	rpcExhausted = 8
	rpcInternal  = 13
	rpcAway      = 14
)

// converse is the goroutine of a gRPC call: it takes what comes to the guest, one message after the other. While the guest has
// one, the next is not read, so that the network holds its sender back.
func (e *errand) converse() {
	code, text := uint32(rpcInternal), []byte(nil)
	gone := false
	err := e.guard(func() (err error) {
		code, text, err = e.exchange()
		return err
	})
	if err != nil {
		code, text, gone = codeOf(err), []byte(fault.KindOf(err).String()), err == errUnheard
	}
	if gone || code == rpcOK && e.unary() {
		return
	}
	e.finish(&message{code: code, text: text}, e.sh.fn.grpcClose, uint64(code))
}

func (e *errand) unary() bool { return e.id%ticketKinds == ticketRPC }

// errUnheard ends a call whose guest does not listen any more.
var errUnheard = fault.New(fault.FilterReset, "the filter does not wait for its call any more")

// exchange makes the call, and gives the status that it ended with. A stream's guest is told of all that comes, a call's of
// the one message, when all is well.
func (e *errand) exchange() (code uint32, text []byte, err error) {
	reach := &e.root.plugin.reach
	u, err := reach.enter(e)
	if err != nil {
		return 0, nil, err
	}
	defer reach.part(e)
	k, err := u.Ask(e.name, e.y)
	if err != nil {
		return 0, nil, e.reason(err)
	}
	e.headed = true
	err = closing(k, func() (err error) {
		if code, text, err = e.listen(); err != nil && err != errUnheard {
			err = e.reason(k.Explain(err))
		}
		return err
	})
	return code, text, err
}

// listen takes the answer.
func (e *errand) listen() (code uint32, text []byte, err error) {
	r, fn := &e.y.Response, &e.sh.fn
	short := r.Body.Empty() // it has a head and nothing else, which so is its trailer ("Trailers-Only")
	if !e.unary() {
		m := &message{}
		if !short {
			m.head = &r.Header
		}
		if !e.tellMap(m, fn.grpcInitial, mapGrpcInitial) {
			return 0, nil, errUnheard
		}
	}
	tail := &r.Trailer
	if short {
		tail = &r.Header
	}
	if r.Status != 200 {
		code, text, ok := statusIn(&r.Header)
		if !short || !ok {
			code, text = uint32(grpcStatusOf(r.Status)), []byte("HTTP status "+strconv.Itoa(r.Status))
		}
		return code, text, nil
	}
	one, err := e.messages()
	if err != nil {
		return 0, nil, err
	}
	code, text, ok := statusIn(tail)
	switch {
	case !ok:
		code, text = rpcUnknown, []byte("the answer has no grpc-status")
	case !e.unary():
		if !e.tellMap(&message{trailer: tail}, fn.grpcTrailing, mapGrpcTrailing) {
			return 0, nil, errUnheard
		}
	case code == rpcOK && one == nil:
		code, text = rpcInternal, []byte("the answer has no message")
	case code == rpcOK:
		e.finish(&message{body: one}, fn.grpcReceive, uint64(len(one)))
	}
	return code, append([]byte(nil), text...), nil
}

var (
	errRPCLarge  = fault.New(fault.FilterLimit, "a gRPC message for a filter is larger than it may be")
	errRPCPacked = fault.New(fault.BadResponse, "a gRPC message is compressed, which was not asked for")
	errRPCShort  = fault.New(fault.ResponseTruncated, "a gRPC message is not whole")
	errRPCMany   = fault.New(fault.BadResponse, "more than one gRPC message for a call that has one answer")
)

// messages takes the messages of the answer up to its end. A call's only one is given back, not nil if there is one.
func (e *errand) messages() (one []byte, err error) {
	f := framed{e: e, body: &e.y.Response.Body, buf: pool.Acquire(pool.Medium)}
	defer pool.Release(f.buf)
	for {
		msg, err := f.next()
		switch {
		case err == io.EOF:
			return one, nil
		case err != nil:
			return nil, err
		case e.unary() && one != nil:
			return nil, errRPCMany
		case e.unary():
			one, f.msg = append(msg, 0)[:len(msg)], nil // not nil
		case !e.tell(msg):
			return nil, errUnheard
		}
	}
}

// framed reads messages off a body.
type framed struct {
	e    *errand
	body *exchange.Body
	buf  []byte
	left []byte // of what was read last
	msg  []byte
}

// next gives the next message, a view until it is called again; io.EOF after the last.
func (f *framed) next() ([]byte, error) {
	var head [frameHead]byte
	got, err := f.fill(head[:0], frameHead)
	switch {
	case err == io.EOF && len(got) > 0:
		return nil, errRPCShort
	case err != nil:
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	switch {
	case head[0] != 0:
		return nil, errRPCPacked
	case uint64(size) > uint64(f.e.sh.vm.room()):
		return nil, errRPCLarge
	}
	if more := int(size) - f.e.held; more > 0 && !f.e.hold(more) {
		return nil, errRPCLarge
	}
	msg, err := f.fill(f.msg[:0], int(size))
	if err == io.EOF {
		err = errRPCShort
	}
	f.msg = msg
	return msg, err
}

// fill appends bytes to dst until it has n.
func (f *framed) fill(dst []byte, n int) ([]byte, error) {
	for len(dst) < n {
		if len(f.left) == 0 {
			p, err := f.body.Next(f.buf)
			if err != nil {
				return dst, err
			}
			f.left = p
			continue
		}
		m := min(n-len(dst), len(f.left))
		dst = append(dst, f.left[:m]...)
		f.left = f.left[m:]
	}
	return dst, nil
}

// tell tells a stream's guest of a message; false: it does not wait for any more.
func (e *errand) tell(msg []byte) bool {
	sh := e.sh
	sh.mu.Lock()
	if !sh.awaited(e) {
		sh.mu.Unlock()
		return false
	}
	before := sh.in.CPU()
	sh.hand(e, &message{body: msg}, sh.fn.grpcReceive, uint64(len(msg)))
	awaited := sh.awaited(e)
	wait := sh.out.rest(clock.Nano(), int64(sh.in.CPU()-before))
	sh.mu.Unlock()
	e.sleep(wait)
	return awaited
}

// tellMap tells it of metadata.
func (e *errand) tellMap(m *message, fn *wasm.Func, kind uint32) bool {
	sh := e.sh
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !sh.awaited(e) {
		return false
	}
	sh.hand(e, m, fn, sh.pairsOf(m, kind))
	return sh.awaited(e)
}

// finish tells the guest of something for the last time.
func (e *errand) finish(m *message, fn *wasm.Func, args ...uint64) {
	sh := e.sh
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.awaited(e) {
		delete(sh.out.all, e.id)
		sh.hand(e, m, fn, args...)
	}
}

// statusIn reads the status of a call from its last fields.
func statusIn(h *exchange.Header) (code uint32, text []byte, ok bool) {
	v := h.Get("grpc-status")
	if v == nil {
		return 0, nil, false
	}
	n, err := strconv.ParseUint(string(v), 10, 31)
	if err != nil {
		n = rpcUnknown
	}
	return uint32(n), h.Get("grpc-message"), true
}

// codeOf makes a status of what went wrong on the way.
func codeOf(err error) uint32 {
	switch fault.KindOf(err) {
	case fault.ExchangeTimeout:
		return rpcLate
	case fault.FilterLimit:
		return rpcExhausted
	case fault.BadResponse, fault.ResponseTruncated, fault.Internal:
		return rpcInternal
	}
	return rpcAway
}
