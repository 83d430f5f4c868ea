package proxy

import (
	"bytes"

	"github.com/weirproxy/weir/core/exchange"
)

// health answers the probes of a listener that has a path for them: the path is liveness, /ready below it readiness.
func (w *walk) health() error {
	x := w.x
	if w.l.Health == "" {
		return nil
	}
	rest, ok := bytes.CutPrefix(x.Request.Path, []byte(w.l.Health))
	if !ok || string(x.Request.Method) != "GET" && string(x.Request.Method) != "HEAD" {
		return nil
	}
	r := &x.Response
	switch string(rest) {
	case "":
		r.Status = 200
		x.Scratch = w.p.Shared.Health.AppendHealth(x.Scratch[:0])
	case "/ready":
		x.Scratch, r.Status = w.p.Shared.Health.AppendReady(x.Scratch[:0])
	default:
		return nil
	}
	r.Local, w.done = true, true
	r.Header.Append(nameContentType, jsonType, exchange.ContentType)
	r.Body.Replace(x.Scratch)
	return nil
}
