package proxyabi

import (
	"strconv"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wire"
)

var grpcFunctions = []wasm.HostFunc{
	function("proxy_grpc_call", "iiiiiiiiiiii", grpcCall),
	function("proxy_grpc_stream", "iiiiiiiii", grpcStream),
	function("proxy_grpc_send", "iiii", grpcSend),
	function("proxy_grpc_cancel", "i", grpcCancel),
	function("proxy_grpc_close", "i", grpcClose),
}

// rpc is what a gRPC call has beside an HTTP one.
type rpc struct {
	out    outbox
	closed bool // the guest sends no more; guarded by the shard's mutex
}

// grpcCall sends one message and tells the root context of the answer: the message, or how the call ended without one.
func grpcCall(sh *shard, a []uint64) status {
	msg, ok := sh.read(a[8], a[9])
	if !ok {
		return statusInvalidMemory
	}
	e, timeout, st := sh.newRPC(a, a[11], time.Duration(u32(a[10]))*time.Millisecond)
	if st != statusOK {
		return st
	}
	if timeout <= 0 || timeout > callMost {
		timeout = callMost
	}
	e.rpc.closed = true
	if !e.rpc.out.push(msg, true) {
		e.root.complain(tooMuch, []byte(e.name))
		e.forget()
		return statusInternalFailure
	}
	e.promise(timeout)
	id, ok := sh.send(e, ticketRPC, timeout, int(u32(a[7])), (*errand).converse)
	if !ok {
		return statusInternalFailure
	}
	return sh.put32(a[11], id)
}

// grpcStream opens a stream of messages, both ways.
func grpcStream(sh *shard, a []uint64) status {
	e, timeout, st := sh.newRPC(a, a[8], 0)
	if st != statusOK {
		return st
	}
	e.promise(timeout)
	id, ok := sh.send(e, ticketStream, timeout, int(u32(a[7])), (*errand).converse)
	if !ok {
		return statusInternalFailure
	}
	return sh.put32(a[8], id)
}

// newRPC makes an errand of what the two have in common: upstream, service, method and metadata in a[0] to a[7], and where the
// number goes. A timeout of 0 is the service's.
func (sh *shard) newRPC(a []uint64, out uint64, timeout time.Duration) (*errand, time.Duration, status) {
	to, ok1 := sh.read(a[0], a[1])
	service, ok2 := sh.read(a[2], a[3])
	method, ok3 := sh.read(a[4], a[5])
	meta, ok4 := sh.read(a[6], a[7])
	if _, ok5 := sh.in.Memory().Uint32(u32(out)); !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		return nil, 0, statusInvalidMemory
	}
	r := sh.root()
	if r == nil {
		return nil, 0, statusInternalFailure
	}
	s, ok := r.service(to)
	if !ok || !r.mayAsk(s.name, true) {
		return nil, 0, statusParseFailure
	}
	e := newErrand(r, s.name)
	e.rpc = &rpc{out: outbox{vm: sh.vm, wake: make(chan struct{}, 1)}}
	if !fillRPC(e, &s, service, method, meta) {
		e.forget()
		return nil, 0, statusParseFailure
	}
	if timeout == 0 {
		timeout = s.timeout
	}
	return e, timeout, statusOK
}

// fillRPC makes e's request, without its messages.
func fillRPC(e *errand, s *service, name, method, meta []byte) bool {
	if !pathPart(name) || !pathPart(method) || len(s.authority) > 0 && !wire.ValidHost(s.authority) {
		return false
	}
	r := &e.y.Request
	h := &r.Header
	r.Version, r.Trailers, r.Method = exchange.HTTP20, true, methodPost
	r.Target = h.KeepBoth("/", append(append(append([]byte(nil), name...), '/'), method...))
	r.Path, r.Host = r.Target, h.Keep(s.authority)
	h.Append(nameType, applicationRPC, exchange.ContentType)
	for i := range s.metadata {
		addMetadata(h, s.metadata[i].Name, s.metadata[i].Value)
	}
	for p := parsePairs(meta); ; {
		name, value, ok := p.next()
		if !ok {
			break
		}
		addMetadata(h, name, value)
	}
	r.Body.Init(-1, &e.rpc.out)
	e.y.Bind(exchange.ClientLeg, &e.rpc.out)
	return true
}

var methodPost = []byte("POST")

// pathPart reports whether a guest's text is one part of a path.
func pathPart(b []byte) bool {
	if len(b) == 0 || len(b) >= maxTarget {
		return false
	}
	for _, c := range b {
		if c == '/' || c == '?' || c == '%' {
			return false
		}
	}
	return abi.Visible(b)
}

// addMetadata adds a field that a guest has written, unless it is the transport's or no field.
func addMetadata(h *exchange.Header, name, value []byte) {
	id := exchange.Identify(name)
	switch {
	case !mayCarry(name, value, id), id == exchange.ContentType:
		return
	case exchange.EqualFold(name, "grpc-timeout"), exchange.EqualFold(name, "grpc-encoding"), exchange.EqualFold(name, "grpc-accept-encoding"):
		return
	}
	h.Add(name, abi.Trim(value))
}

// promise tells the upstream how long the call may take (the gRPC protocol, "Timeout": at most eight digits and a unit).
func (e *errand) promise(timeout time.Duration) {
	if timeout <= 0 {
		return
	}
	n, unit := max(timeout.Milliseconds(), 1), byte('m')
	if n > 99_999_999 {
		n, unit = min(n/1000, 99_999_999), 'S'
	}
	e.y.Request.Header.AddString("grpc-timeout", append(strconv.AppendInt(nil, n, 10), unit))
}

// grpcSend sends one more message of a stream, or ends its sending side, or both. More than may wait for the network is refused
// with the only answer for that that the Rust SDK bears; the stream stays as it is.
func grpcSend(sh *shard, a []uint64) status {
	msg, ok := sh.read(a[1], a[2])
	if !ok {
		return statusInvalidMemory
	}
	id := u32(a[0])
	if id%ticketKinds != ticketStream {
		return statusBadArgument
	}
	e := sh.out.all[id]
	switch {
	case e == nil:
		return statusNotFound
	case e.rpc.closed:
		return statusBadArgument
	}
	end := u32(a[3]) != 0
	if end && len(msg) == 0 {
		e.rpc.out.end()
	} else if !e.rpc.out.push(msg, end) {
		e.root.complain(tooMuch, []byte(e.name))
		return statusBadArgument
	}
	e.rpc.closed = end
	return statusOK
}

var errCancelled = fault.New(fault.FilterReset, "the filter has cancelled its call")

// grpcCancel resets a call or a stream. The guest hears no more of it.
func grpcCancel(sh *shard, a []uint64) status {
	e := sh.out.all[u32(a[0])]
	if e == nil || e.rpc == nil {
		return statusNotFound
	}
	sh.giveUp(e, errCancelled)
	return statusOK
}

// grpcClose ends the sending side of a stream; of a call, which has none left, it is cancelling, as with Envoy.
func grpcClose(sh *shard, a []uint64) status {
	e := sh.out.all[u32(a[0])]
	if e == nil || e.rpc == nil {
		return statusNotFound
	}
	if e.id%ticketKinds == ticketRPC {
		return grpcCancel(sh, a)
	}
	e.rpc.closed = true
	e.rpc.out.end()
	return statusOK
}
