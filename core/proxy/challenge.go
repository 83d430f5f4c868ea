package proxy

import (
	"github.com/weirproxy/weir/core/exchange"
)

// challenge answers an authority that a certificate has been asked of (RFC 8555 §8.3). While none is being issued, or the
// question is not about ours, the request goes on: what stands behind weir may have certificates of its own.
func (w *walk) challenge() error {
	x := w.x
	text, ok := w.p.Shared.Certs.Answer(x.Request.Host, x.Request.Path)
	if !ok || string(x.Request.Method) != "GET" && string(x.Request.Method) != "HEAD" {
		return nil
	}
	r := &x.Response
	r.Status, r.Local, w.done = 200, true, true
	r.Header.Append(nameContentType, octetsType, exchange.ContentType)
	x.Scratch = append(x.Scratch[:0], text...)
	r.Body.Replace(x.Scratch)
	return nil
}

// octetsType is what the authority may be sent (RFC 8555 §8.3).
var octetsType = []byte("application/octet-stream")
