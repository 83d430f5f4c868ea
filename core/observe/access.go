package observe

import (
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

// AccessLogOptions say where the access log goes.
type AccessLogOptions struct {
	WriterOptions
	// Redact names query parameters, beyond those that are known to be, whose values are not logged.
	Redact []string
}

// AccessLog writes a line of JSON for every exchange. Its methods may be called from any goroutine; nil logs nothing.
type AccessLog struct {
	w      *Writer
	redact *redactor
}

// OpenAccessLog opens the log's output; see OpenWriter.
func OpenAccessLog(o AccessLogOptions) (*AccessLog, error) {
	w, err := OpenWriter(o.WriterOptions)
	if err != nil {
		return nil, err
	}
	return &AccessLog{w: w, redact: newRedactor(o.Redact)}, nil
}

// Writer is what the lines go through: for its count of dropped lines.
func (a *AccessLog) Writer() *Writer { return a.w }

// Reopen opens the log's file anew; see Writer.Reopen.
func (a *AccessLog) Reopen() error {
	if a == nil {
		return nil
	}
	return a.w.Reopen()
}

// Close writes what is there within the given time; see Writer.Close.
func (a *AccessLog) Close(within time.Duration) error {
	if a == nil {
		return nil
	}
	return a.w.Close(within)
}

// maxText and maxPath bound what one value may add to a line, before it is escaped.
const (
	maxText = 1 << 10
	maxPath = 4 << 10
)

// Record writes the line of an exchange that is over; Record.End is set. It does not allocate and does not wait. It uses
// x.Scratch.
//
// timestamp is when the line is made, which is the end of the exchange. upstream_ms is the time from the first try to the
// first byte of the answer, or to the end if there came none; ttfb_ms is that from the request's first byte to the
// answer's. What is empty or did not happen is left out, but for the counts of bytes.
func (a *AccessLog) Record(x *exchange.Exchange) {
	if a == nil {
		return
	}
	l := a.appendLine(x.Scratch[:0], x)
	x.Scratch = l[:0]
	a.w.Write(l)
}

func (a *AccessLog) appendLine(l line, x *exchange.Exchange) line {
	q, rec := &x.Request, &x.Record
	l = append(l, `{"timestamp":"`...)
	l = append(appendTime(l), '"')
	l = l.text(`,"request_id":"`, x.RequestID, maxText)
	l = l.addr(`,"client_ip":"`, x.Client.IP)
	l = l.addrPort(`,"peer":"`, x.Client.Peer)
	if x.Identity != nil {
		l = l.str(`,"user_id":"`, x.Identity.Subject)
	}
	l = l.text(`,"method":"`, q.Method, maxText)
	l = l.text(`,"host":"`, q.Host, maxText)
	l = a.path(l, q)
	l = l.str(`,"protocol":"`, protocol(q.Version))
	if s := status(x); s != 0 {
		l = l.int(`,"status_code":`, int64(s))
	}
	l = times(l, rec)
	l = l.int(`,"bytes_in":`, rec.BytesIn).int(`,"bytes_out":`, rec.BytesOut)
	l = l.str(`,"route":"`, rec.Route).str(`,"upstream":"`, rec.Upstream).str(`,"endpoint":"`, rec.Endpoint)
	if rec.Tries > 0 {
		l = l.int(`,"tries":`, int64(rec.Tries))
	}
	l = l.text(`,"user_agent":"`, q.Header.GetID(exchange.UserAgent), maxText)
	if rec.Fault != fault.None {
		l = l.str(`,"fault":"`, rec.Fault.String())
	}
	l = l.str(`,"reason":"`, rec.Reason).str(`,"filter":"`, rec.Filter).str(`,"rule":"`, rec.Rule)
	return append(l, "}\n"...)
}

func (a *AccessLog) path(l line, q *exchange.Request) line {
	l = append(l, `,"path":"`...)
	l = appendEscaped(l, q.Path[:min(len(q.Path), maxPath)])
	if len(q.Query) > 0 {
		l = a.redact.appendQuery(append(l, '?'), q.Query[:min(len(q.Query), maxPath)])
	}
	return append(l, '"')
}

func times(l line, rec *exchange.Record) line {
	l = l.millis(`,"latency_ms":`, rec.End-rec.Start)
	if rec.UpstreamStart != 0 {
		until := rec.FirstByte
		if until == 0 {
			until = rec.End
		}
		l = l.millis(`,"upstream_ms":`, until-rec.UpstreamStart)
	}
	if rec.FirstByte != 0 {
		l = l.millis(`,"ttfb_ms":`, rec.FirstByte-rec.Start)
	}
	return l
}

func protocol(version int) string {
	switch version {
	case exchange.HTTP10:
		return "HTTP/1.0"
	case exchange.HTTP11:
		return "HTTP/1.1"
	case exchange.HTTP20:
		return "HTTP/2.0"
	}
	return ""
}
