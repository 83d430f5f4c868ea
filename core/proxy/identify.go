package proxy

import (
	"bytes"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/identity"
)

var errUnauthorized = fault.New(fault.Unauthorized, "no valid credential")

// identify finds the one credential of the request and what it proves. What another route has let it prove is of no use
// here, unless that asks for the same.
func (w *walk) identify() error {
	auth, x := w.rt.Auth, w.x
	if auth.Same(w.auth) {
		return nil
	}
	w.auth, x.Identity = auth, nil
	if auth == nil {
		return nil
	}
	reason := identity.Missing
	for _, way := range auth.Ways {
		p := way.Tokens
		if p == nil {
			if c := x.Client.Certificate; c == nil {
				continue
			} else if reason = identity.CheckCertificate(c, time.Now()); reason != identity.OK {
				break
			} else {
				x.Identity = &c.Identity
				return nil
			}
		}
		token, r := w.credential(p)
		if r == identity.Missing {
			continue
		}
		if reason = r; r != identity.OK {
			break
		}
		var id *identity.Identity
		id, reason = w.p.Shared.Tokens.Verify(p, token, time.Now())
		if reason == identity.OK {
			x.Identity = &id.Identity
			return nil
		}
		// A token of another issuer may be the next provider's.
		if reason != identity.BadIssuer && reason != identity.UnknownKey && reason != identity.BadAlgorithm {
			break
		}
	}
	x.Record.Reason = reason.String()
	return errUnauthorized
}

// credential finds the provider's token in the request. Two are one too many: which of them counts would be the
// sender's choice.
func (w *walk) credential(p *identity.Provider) (token []byte, reason identity.Reason) {
	reason = identity.Missing
	for _, s := range p.Sources() {
		v, n := w.source(s)
		if n == 0 {
			continue
		}
		if n > 1 || token != nil {
			return nil, identity.Ambiguous
		}
		if token, reason = s.Token(v); reason != identity.OK {
			return nil, reason
		}
	}
	return token, reason
}

// source gives the value at s and how many there are.
func (w *walk) source(s identity.Source) (value []byte, n int) {
	h := &w.x.Request.Header
	switch s.Kind {
	case identity.Bearer:
		return h.GetID(exchange.Authorization), h.CountID(exchange.Authorization)
	case identity.Header:
		for i := h.Index(s.Name, 0); i >= 0; i = h.Index(s.Name, i+1) {
			value, n = h.At(i).Value, n+1
		}
	case identity.Cookie:
		for i := range h.Len() {
			if f := h.At(i); f.ID == exchange.Cookie {
				v, m := pair(f.Value, s.Name, ';')
				if m > 0 {
					value, n = v, n+m
				}
			}
		}
	case identity.Query:
		return pair(w.x.Request.Query, s.Name, '&')
	}
	return value, n
}

// pair finds name=value in a list and counts how often it is there.
func pair(list []byte, name string, between byte) (value []byte, n int) {
	for len(list) > 0 {
		item := list
		if i := bytes.IndexByte(list, between); i >= 0 {
			item, list = list[:i], list[i+1:]
		} else {
			list = nil
		}
		item = bytes.TrimSpace(item)
		if len(item) > len(name) && item[len(name)] == '=' && string(item[:len(name)]) == name {
			value, n = item[len(name)+1:], n+1
		}
	}
	return value, n
}

// require judges the identity.
func (w *walk) require() error {
	if w.rt.Require == nil {
		return nil
	}
	if !w.rt.Require.Allows(w.x.Identity, w.resolve) {
		w.x.Record.Reason = "require"
		return errForbidden
	}
	return nil
}

// template resolves a template of a policy for this request.
func (w *walk) template(text string) (string, bool) {
	t := w.rt.Templates[text]
	if t == nil {
		return "", false
	}
	x := w.x
	var whole bool
	x.Scratch, whole = filter.AppendTemplate(x.Scratch[:0], t, x)
	return viewString(x.Scratch), whole
}
