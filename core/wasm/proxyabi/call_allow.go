package proxyabi

import (
	"slices"
	"time"

	"github.com/weirproxy/weir/core/clock"
)

// mayAsk reports whether the plugin may ask an upstream; rpc says that it is to be asked by gRPC, which takes HTTP/2. While the
// plugin is in no plan only asking can tell whether there is one. Of what the operator can mend, the log tells.
func (r *root) mayAsk(name []byte, rpc bool) bool {
	if len(name) > maxName || !slices.Contains(r.plugin.o.Calls, string(name)) {
		r.complain(notListed, name)
		return false
	}
	http2, ok, known := r.plugin.reach.find(string(name))
	switch {
	case !known:
	case !ok:
		r.complain(notThere, name)
		return false
	case rpc && !http2:
		r.complain(notHTTP2, name)
		return false
	}
	return true
}

// What the log says of calls that are not made, with what there is to write.
const (
	notListed = "filter wants to ask an upstream that it may not: list it under calls of the filter"
	notThere  = "filter wants to ask an upstream that does not exist: write it under upstreams"
	notHTTP2  = "filter wants to make gRPC calls to an upstream that is spoken to in HTTP/1.1: write protocol: h2 into it"
	noRequest = "filter wants to send what is no request: it takes a valid :method, :path and :authority"
	tooMuch   = "filter has too many calls under way, or too large ones: this one was not made"
)

// complainEvery is the least time between two complaints about one plugin.
const complainEvery = 10 * time.Second

// complain logs why a call is not made, once in a while.
func (r *root) complain(text string, name []byte) {
	told, now := &r.plugin.reach.told, clock.Nano()
	last := told.Load()
	if last != 0 && now-last < int64(complainEvery) || !told.CompareAndSwap(last, now) {
		return
	}
	r.plugin.journal.Log().Warn().Bytes("upstream", name[:min(len(name), 100)]).Msg(text)
}
