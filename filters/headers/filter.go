// Package headers is the kind of filter behind the key headers of a route: it removes and sets fields.
package headers

import (
	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wire"
)

// edit removes fields and sets others. It holds nothing that changes.
type edit struct {
	remove []string // lower case
	set    []field
}

// field is one field to set: to text, or to what the template says if it refers to the request.
type field struct {
	name     string // lower case
	text     []byte
	template *config.Template
	host     bool // the request's authority, which is no field
}

func newEdit(c *config.HeaderChange, ofRequest bool) edit {
	e := edit{remove: c.Remove}
	for i := range c.Set {
		s := &c.Set[i]
		f := field{name: s.Name, template: &s.Value, host: ofRequest && s.Name == "host"}
		if text, ok := s.Value.Text(); ok {
			f.text, f.template = []byte(text), nil
		}
		e.set = append(e.set, f)
	}
	return e
}

func (e *edit) empty() bool { return len(e.remove)+len(e.set) == 0 }

// apply changes h. A template that refers to a fact which x does not have sets nothing, and leaves no field of that name
// either: a client must not be able to send what weir could not say.
func (e *edit) apply(h *exchange.Header, x *exchange.Exchange) {
	for _, name := range e.remove {
		h.Del(name)
	}
	for i := range e.set {
		f := &e.set[i]
		value, whole := f.text, true
		if f.template != nil {
			x.Scratch, whole = filter.AppendTemplate(x.Scratch[:0], f.template, x)
			value = x.Scratch
		}
		switch {
		case f.host:
			if whole && wire.ValidHost(value) {
				x.Request.Host = h.Keep(value)
			}
		case whole:
			h.Set(f.name, value)
		default:
			h.Del(f.name)
		}
	}
}

// request changes what the upstream is sent.
type request struct{ edit }

// Request implements filter.Filter.
func (f *request) Request(x *exchange.Exchange, _ int) (filter.Verdict, error) {
	f.apply(&x.Request.Header, x)
	return filter.Continue, nil
}

// Response implements filter.Filter.
func (*request) Response(*exchange.Exchange, int, bool) (filter.Verdict, error) {
	return filter.Continue, nil
}

// Close implements filter.Filter.
func (*request) Close() error { return nil }

// response changes what the client is sent.
type response struct {
	edit
	security bool
}

func (f *response) answer(x *exchange.Exchange) {
	if f.security {
		secure(x)
	}
	f.apply(&x.Response.Header, x)
}

// preset is what makes a browser safer with any site. The first two have one right value each, and are set whatever the
// upstream says; the others say how a site is built, and stay as it says if it does.
var preset = []struct {
	name  string
	value []byte
	force bool
}{
	{"x-content-type-options", []byte("nosniff"), true},
	{"x-frame-options", []byte("DENY"), true},
	{"referrer-policy", []byte("strict-origin-when-cross-origin"), false},
	{"content-security-policy", []byte("base-uri 'self'; frame-ancestors 'none'; object-src 'none'"), false},
}

const hsts = "strict-transport-security"

var oneYear = []byte("max-age=31536000")

func secure(x *exchange.Exchange) {
	h := &x.Response.Header
	for i := range preset {
		p := &preset[i]
		if p.force || h.Index(p.name, 0) < 0 {
			h.Set(p.name, p.value)
		}
	}
	// Over a plain connection a browser ignores it (RFC 6797 §8.1), and a site may still be reached by both.
	if x.Client.Secure && h.Index(hsts, 0) < 0 {
		h.Set(hsts, oneYear)
	}
}
