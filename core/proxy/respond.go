package proxy

import (
	"io"
	"strconv"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/plan"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/wire"
)

// respond takes the answer back through the filters that the request has passed, and sends it.
func (w *walk) respond(failed bool) error {
	x := w.x
	x.Record.FirstByte = clock.Nano()
	if err := w.back(failed); err != nil {
		return err
	}
	if x.Response.Status == 101 && x.Record.UpstreamStatus == 101 && !x.Response.Local {
		return w.tunnel()
	}
	return w.deliver()
}

// errStatus is a filter's: answers of upstreams have been checked, our own are right.
var errStatus = fault.New(fault.GuestFailed, "a filter made an answer without a final status")

// deliver sends the answer as it stands.
func (w *walk) deliver() error {
	x := w.x
	if x.Response.Status < 200 || x.Response.Status > 599 {
		return errStatus
	}
	if w.call != nil {
		if err := w.call.Broken(); err != nil {
			return err
		}
	}
	body := &x.Response.Body
	if err := body.Failed(); err != nil { // a filter that may fail has pulled it: there is still time to say so
		return err
	}
	if x.Response.Local || body.Layered() {
		x.Response.Declared = -1
	}
	w.stamp()
	if err := x.Down.WriteHead(x, body.Length); err != nil {
		return err
	}
	if !body.Whole() {
		w.loosen()
		if w.call != nil && !w.call.AtHand() { // a stream may be silent for long: its head does not wait for it
			if err := x.Down.WriteBody(nil, true); err != nil {
				return err
			}
		}
	}
	if err := w.pump(body); err != nil {
		return err
	}
	return x.Down.Finish(&x.Response.Trailer)
}

// pump pulls the answer's body and passes it on. Nothing is held back: what has been read is sent before more is waited for.
func (w *walk) pump(body *exchange.Body) error {
	if body.Empty() {
		return nil
	}
	size := pool.Medium
	if body.Length > 4*pool.Large {
		size = pool.Large
	}
	buf := pool.Acquire(size)
	defer func() { pool.Release(buf) }()
	for {
		p, err := body.Next(buf)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if body.Empty() {
			w.hangUp()
		}
		if err := w.x.Down.WriteBody(p, !body.Whole()); err != nil {
			return err
		}
		if len(p) == len(buf) && len(buf) < pool.Large { // there is more than fits: fewer, larger pieces
			pool.Release(buf)
			buf = pool.Acquire(pool.Large)
		}
	}
}

// hangUp lets go of the upstream when all of its answer has been read: a client that takes its time over the last piece holds
// no connection there, and no place among max_in_flight.
func (w *walk) hangUp() {
	if w.call != nil && w.call.Over() && w.x.Response.Trailer.Len() == 0 {
		w.call.Close(nil)
		w.call = nil
	}
}

// stamp adds what every answer carries, and what its route makes every answer carry.
func (w *walk) stamp() {
	x := w.x
	h := &x.Response.Header
	if !x.Response.Local {
		w.via(h, x.Response.Version)
	}
	for _, change := range w.rt.Answers {
		change(x)
	}
	w.share()
	h.DelID(exchange.XRequestID)
	h.Append(nameRequestID, x.RequestID, exchange.XRequestID)
	if x.Response.Local && h.GetID(exchange.Date) == nil { // RFC 9110 §6.6.1: of an answer made here the date is ours
		x.Scratch = wire.AppendDate(x.Scratch[:0], time.Now())
		h.AddString("Date", x.Scratch)
	}
	q := &x.Quota
	if !q.Set {
		return
	}
	w.number("X-RateLimit-Limit", q.Limit)
	w.number("X-RateLimit-Remaining", q.Remaining)
	w.number("X-RateLimit-Reset", q.Reset)
	if q.Retry > 0 {
		w.number("Retry-After", q.Retry)
	}
}

// number sets a field: an upstream's own limits are not those of weir, and two of a name would contradict each other.
func (w *walk) number(name string, n int64) {
	x := w.x
	x.Scratch = strconv.AppendInt(x.Scratch[:0], n, 10)
	x.Response.Header.Set(name, x.Scratch)
}

// replies are the answers to faults: a title, and a sentence for a person. Neither tells anything of the inside.
var replies = map[int]struct{ title, text string }{
	400: {"Bad Request", "the request could not be understood"},
	401: {"Unauthorized", "a valid credential is required"},
	403: {"Forbidden", "access denied"},
	404: {"Not Found", "no such resource"},
	405: {"Method Not Allowed", "this method is not served"},
	408: {"Request Timeout", "the request took too long to arrive"},
	413: {"Content Too Large", "the request body is too large"},
	414: {"URI Too Long", "the request target is too long"},
	417: {"Expectation Failed", "this expectation is not supported"},
	429: {"Too Many Requests", "rate limit exceeded"},
	431: {"Request Header Fields Too Large", "the request header is too large"},
	500: {"Internal Server Error", "something went wrong"},
	501: {"Not Implemented", "this transfer coding is not supported"},
	502: {"Bad Gateway", "the upstream gave no valid answer"},
	503: {"Service Unavailable", "try again later"},
	504: {"Gateway Timeout", "the upstream took too long"},
	508: {"Loop Detected", "the request goes round in circles"},
	505: {"HTTP Version Not Supported", "this HTTP version is not supported"},
}

var (
	nameContentType  = []byte("Content-Type")
	nameAuthenticate = []byte("WWW-Authenticate")
	nameRetryAfter   = []byte("Retry-After")
	oneSecond        = []byte("1") // a full queue is a matter of moments
	jsonType         = []byte("application/json")
	bearer           = []byte("Bearer")
	bearerInvalid    = []byte(`Bearer error="invalid_token"`)
)

// reply makes the answer to a fault.
func (w *walk) reply(kind fault.Kind) {
	x := w.x
	x.ClearResponse()
	// The answer is one to the client's own method, and the filter that has put another in its place may have no say any more.
	x.Request.Method = w.method
	r := &x.Response
	r.Local, r.Status = true, kind.Status()
	text, ok := replies[r.Status]
	if !ok {
		r.Status, text = 500, replies[500]
	}
	r.Reason = r.Header.KeepBoth(text.title, nil)
	r.Header.Append(nameContentType, jsonType, exchange.ContentType)
	if kind == fault.MethodRefused {
		allow := w.allow
		if allow == nil {
			allow = plan.CommonMethods
		}
		r.Header.Append(nameAllow, allow, exchange.Other)
	}
	if kind == fault.UpstreamBusy {
		r.Header.Append(nameRetryAfter, oneSecond, exchange.RetryAfter)
	}
	if kind == fault.Unauthorized {
		// RFC 6750 §3.1: the error is named only to those who sent a credential, and never which check it failed.
		challenge := bearerInvalid
		if x.Record.Reason == "missing" {
			challenge = bearer
		}
		r.Header.Append(nameAuthenticate, challenge, exchange.Other)
	}
	x.Scratch = append(x.Scratch[:0], `{"error":"`...)
	x.Scratch = append(x.Scratch, text.title...)
	x.Scratch = append(x.Scratch, `","message":"`...)
	x.Scratch = append(x.Scratch, text.text...)
	x.Scratch = append(x.Scratch, "\"}\n"...)
	r.Body.Replace(x.Scratch)
}
