package wire

import "github.com/weirproxy/weir/core/exchange"

// This file is what package h2 needs of the rules that are the same in every version of HTTP.

// CheckRequest settles method, target and host of a request that came over HTTP/2 (RFC 9113 §8.3.1), by the rules of
// ParseRequest: r.Method, r.Target and r.Host stand as they were sent, hosts counts the Host fields and host is the value of
// one. It fills in Path and Query and makes Host and Target what is routed on and forwarded.
func CheckRequest(r *exchange.Request, hosts int, host []byte, secure bool, lim *Limits) error {
	if !isToken(r.Method) || len(r.Method) > 32 {
		return errStart
	}
	if string(r.Method) == "CONNECT" || string(r.Method) == "TRACE" {
		return errMethod
	}
	if len(r.Target) > lim.Target {
		return errTargetTooLong
	}
	for _, c := range r.Target {
		if !targetByte[c] {
			return errTarget
		}
	}
	switch {
	case hosts > 1 || hosts == 1 && !ValidHost(host), len(r.Host) > 0 && !ValidHost(r.Host):
		return errHost
	case len(r.Host) == 0:
		if hosts == 0 {
			return errHost
		}
		r.Host = host
	case hosts == 1 && !sameHost(host, r.Host, secure):
		return errHost
	}
	if string(r.Target) == "*" && string(r.Method) == "OPTIONS" {
		r.Path, r.Query = r.Target, nil
		return nil
	}
	if len(r.Target) == 0 || r.Target[0] != '/' {
		return errTarget
	}
	return lim.Normalise(r)
}

// CheckExpect reads the Expect fields of a request, of which it has n and value is one: ask is true if the client waits for
// 100 Continue before it sends its body.
func CheckExpect(n int, value []byte, hasBody bool) (ask bool, err error) {
	if n == 0 {
		return false, nil
	}
	if n > 1 || !exchange.EqualFold(value, "100-continue") {
		return false, errExpect
	}
	return hasBody, nil
}

// CheckField applies the rule for underscores to a field name: drop says that the field is left out.
func CheckField(name []byte, lim *Limits) (drop bool, err error) {
	if lim.Underscores == PassUnderscores {
		return false, nil
	}
	for _, c := range name {
		if c == '_' {
			if lim.Underscores == RefuseUnderscores {
				return false, errUnderscore
			}
			return true, nil
		}
	}
	return false, nil
}

// ErrTooManyFields is the refusal of a head with more fields than Limits allow.
var ErrTooManyFields error = errTooManyFields

// ParseLength reads the value of a Content-Length field: digits only, no overflow (RFC 9110 §8.6).
func ParseLength(v []byte) (n int64, ok bool) { return parseLength(v) }

// TrailerMay reports whether a field may come after a body (RFC 9110 §6.5.1); id is that of the name.
func TrailerMay(name []byte, id exchange.ID) bool { return trailerMay(name, id) }

// MaxTrailers and MaxTrailerBytes bound a trailer section.
const (
	MaxTrailers     = maxTrailers
	MaxTrailerBytes = maxTrailerBytes
)

// AppendVisible appends b, a part of a request line, with what has no place in one percent-encoded.
func AppendVisible(dst, b []byte) []byte { return appendVisible(dst, b) }

// SendsLength reports whether a request with this method says how long its body is even if it has none (RFC 9110 §8.6).
func SendsLength(method []byte) bool { return expectsBody(method) }
