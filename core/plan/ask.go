package plan

import (
	"fmt"
	"io"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/upstream"
)

// maxFallbacks is how many upstreams one request may be passed on to because nobody there may be asked. The configuration has no
// circles; this is so that a mistake there costs a refusal and no hung request.
const maxFallbacks = 8

// Ask sends x's request to u, or to what stands in for u while none of its endpoints may be asked: breakers are open, checks
// fail, names are not resolved. Once a try has been made anywhere, nothing else takes over; a full queue is no reason either,
// for what is too much for u would be too much for its stand-in. If the stand-in is an answer that is known beforehand, ready
// is that, and there is no call. host and the call are [upstream.Upstream.Send]'s.
func (u *Upstream) Ask(x *exchange.Exchange, host []byte) (call *upstream.Call, ready *Respond, err error) {
	for range maxFallbacks {
		call, err = u.Send(x, host)
		f, kind := u.Fallback, fault.KindOf(err)
		if f == nil || x.Record.Tries > 0 || kind != fault.BreakerOpen && kind != fault.NoEndpoint {
			return call, nil, err
		}
		if f.Respond != nil {
			return nil, f.Respond, nil
		}
		u = f.Upstream
	}
	return nil, nil, err
}

// Fill makes r the answer of x.
func (r *Respond) Fill(x *exchange.Exchange) {
	x.Response.Local = true
	x.Response.Status = r.Status
	for i := range r.Header {
		f := &r.Header[i]
		x.Response.Header.Append(f.Name, f.Value, f.ID)
	}
	x.Response.Body.Replace(r.Body)
}

// asked is a plan's upstreams as filters ask them.
type asked map[string]asking

type asking struct {
	*Upstream
	http2 bool
}

var _ filter.Upstreams = asked(nil)

// asked lists the upstreams that have been opened.
func (b *builder) asked() asked {
	all := asked{}
	for i := range b.spec.Upstreams {
		c := &b.spec.Upstreams[i]
		if u := b.upstreams[c.Name]; u != nil {
			all[c.Name] = asking{u, c.Protocol == config.ProtocolH2}
		}
	}
	return all
}

// Find implements filter.Upstreams.
func (a asked) Find(name string) (http2, ok bool) {
	u, ok := a[name]
	return u.http2, ok
}

// Ask implements filter.Upstreams. Host is y's; without one it is the endpoint's own name.
func (a asked) Ask(name string, y *exchange.Exchange) (filter.Call, error) {
	u, ok := a[name]
	if !ok {
		return nil, fault.Wrap(fault.NoEndpoint, fmt.Errorf("there is no upstream %s", name))
	}
	if y.Down == nil {
		y.Down = Nobody{}
	}
	host := y.Request.Host
	if len(host) == 0 {
		host = nil
	}
	call, ready, err := u.Upstream.Ask(y, host)
	switch {
	case err != nil:
		return nil, err
	case ready != nil:
		ready.Fill(y)
		return answered{}, nil
	}
	return call, nil
}

// answered is a call that did not have to be made.
type answered struct{}

func (answered) Explain(err error) error { return err }
func (answered) Close(error)             {}

// Nobody is the client of a request that is made in nobody's name.
type Nobody struct{}

var _ exchange.Downstream = Nobody{}

// Inform implements exchange.Downstream, as the others do: there is nobody to tell.
func (Nobody) Inform(*exchange.Exchange) error           { return nil }
func (Nobody) WriteHead(*exchange.Exchange, int64) error { return nil }
func (Nobody) WriteBody([]byte, bool) error              { return nil }
func (Nobody) Finish(*exchange.Header) error             { return nil }
func (Nobody) Abort()                                    {}
func (Nobody) Tunnel() (exchange.Pipe, []byte, error)    { return nil, nil, io.EOF }
