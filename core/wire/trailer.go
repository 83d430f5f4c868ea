package wire

import (
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/pool"
)

const (
	maxTrailers     = 32
	maxTrailerBytes = pool.Small // of the section; it is buffered as a whole
)

// trailers reads the trailer section if it is at hand as a whole.
func (b *BodyReader) trailers() (bool, error) {
	bad := sideFaults[b.side].bad
	if len(b.ahead) >= 2 && b.ahead[0] == '\r' {
		if b.ahead[1] != '\n' {
			return false, bad
		}
		b.ahead = b.ahead[2:]
		return true, nil
	}
	section := b.ahead[:min(len(b.ahead), maxTrailerBytes)]
	end, err := HeadEnd(section, 0)
	if err != nil || end == 0 && len(section) == maxTrailerBytes {
		return false, bad
	}
	if end == 0 {
		return false, nil
	}
	fr := framing{trailer: true}
	lim := Limits{Fields: maxTrailers}
	if err := fields(section[:end], 0, &lim, b.trailer, &fr); err != nil {
		b.trailer.Truncate(0) // what was read before is a view that will not last
		return false, bad
	}
	// The views must outlive this buffer.
	for i := range b.trailer.Len() {
		f := b.trailer.At(i)
		f.Name, f.Value = b.trailer.Keep(f.Name), b.trailer.Keep(f.Value)
	}
	b.ahead = b.ahead[end:]
	return true, nil
}

// trailerMay says which fields may come after a body: none that frames, routes, authenticates, asks for something else or
// describes the content (RFC 9110 §6.5.1), or a sender could slip past what was decided on the header section.
func trailerMay(name []byte, id exchange.ID) bool {
	if id != exchange.Other {
		return false
	}
	for _, not := range notTrailing {
		if not[len(not)-1] == '-' && hasFold(name, not) || exchange.EqualFold(name, not) {
			return false
		}
	}
	return true
}

// notTrailing are the names, or with a dash at the end the beginnings of names, that may not come after a body beside
// those that have an ID.
var notTrailing = [...]string{
	"accept-", "age", "allow", "authentication-info", "cache-control", "content-", "expires", "if-", "location", "pragma",
	"priority", "proxy-", "range", "sec-", "set-cookie2", "true-client-ip", "vary", "warning", "www-authenticate",
	"x-client-ip", "x-forwarded-", "x-http-method", "x-http-method-override", "x-method-override", "x-original-", "x-rewrite-",
}
