package wire

import (
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

var errResponse = fault.New(fault.BadResponse, "malformed answer")

// ParseResponse reads a whole head of an upstream's answer to a request with the given method. An upstream may be as
// hostile as a client: the grammar is the same, and what is ambiguous is refused (RFC 9112 §4, §6.3).
func ParseResponse(head []byte, method []byte, lim *Limits, r *exchange.Response) (Framing, error) {
	i, err := statusLine(head, r)
	if err != nil {
		return Framing{}, err
	}
	var fr framing
	if err := fields(head, i, lim, &r.Header, &fr); err != nil {
		return Framing{}, fault.Wrap(fault.BadResponse, err)
	}
	f := Framing{Close: fr.close || fr.repaired || r.Version == exchange.HTTP10 && !fr.keepAlive}
	r.Declared = fr.length
	switch {
	case fr.codings > 1, fr.lengths > 1, fr.chunked && (fr.length >= 0 || r.Version == exchange.HTTP10):
		return f, errResponse
	case r.Status < 200 && (fr.codings > 0 || fr.length >= 0):
		return f, errResponse // a sender that frames a body here sends one (RFC 9112 §6.1, §6.2)
	case r.Status == 101 && !(fr.upgrade && fr.websocket && fr.upgrades == 1):
		return f, errResponse
	case r.Status == 204 && (fr.codings > 0 || fr.length > 0):
		f.Close = true // the body that may not be there may come all the same
	case Bodiless(r.Status) || string(method) == "HEAD":
	case fr.chunked:
		f.Mode = ChunkedBody
	case fr.length > 0:
		f.Mode, f.Length = FixedBody, fr.length
	case fr.length < 0:
		f.Mode, f.Close = CloseBody, true
	}
	return f, nil
}

// Bodiless reports whether an answer with this status never has a body (RFC 9110 §6.4.1).
func Bodiless(status int) bool {
	return status < 200 || status == 204 || status == 304
}

func statusLine(b []byte, r *exchange.Response) (int, error) {
	if len(b) < 15 || string(b[:7]) != "HTTP/1." || b[7] != '0' && b[7] != '1' || b[8] != ' ' {
		return 0, errResponse
	}
	status := 0
	for _, c := range b[9:12] {
		if c-'0' > 9 {
			return 0, errResponse
		}
		status = status*10 + int(c-'0')
	}
	if status < 100 || status > 599 {
		return 0, errResponse
	}
	r.Version, r.Status = exchange.HTTP10+int(b[7]-'0'), status
	i := 12
	if b[i] == ' ' {
		i++
	} else if b[i] != '\r' {
		return 0, errResponse
	}
	start := i
	for valueByte[b[i]] {
		i++
	}
	if b[i] != '\r' || b[i+1] != '\n' {
		return 0, errResponse
	}
	r.Reason = b[start:i]
	return i + 2, nil
}
