package proxyabi

import "github.com/weirproxy/weir/core/exchange"

// fields is a map as a guest sees it: a header section and what stands before it.
type fields struct {
	x       *exchange.Exchange // nil: the section is no exchange's
	h       *exchange.Header   // nil: there is no such map now
	kind    int                // which of the maps
	status  int                // of an answer that is none of x's; 0: none
	open    bool               // it may be changed
	written *int               // bytes that the guest has set in it so far
}

// fieldsOf finds the map that a guest names. A map that there is none of at the moment is one without h: reading gives nothing
// from it, and what is written to it is dropped. ok is false for a number that no map has.
//
// The headers of an exchange are touched by calls for it only, and by others only while it is parked.
func (sh *shard) fieldsOf(kind uint32) (f fields, ok bool) {
	if kind >= maps {
		return fields{}, false
	}
	f.kind = int(kind)
	if m := sh.message; m != nil && kind >= mapGrpcInitial {
		f.h = m.head
		if kind == mapGrpcTrailing || kind == mapCallTrailers {
			f.h = m.trailer
		} else if kind == mapCallHeaders {
			f.status = m.status
		}
		return f, true
	}
	st := sh.stream()
	if st == nil || kind >= mapGrpcInitial {
		return f, true
	}
	request, response := st.at(&st.request), st.at(&st.response)
	x := st.x
	switch kind {
	case mapRequestHeaders:
		if request || response || sh.final {
			f.h, f.open, f.written = &x.Request.Header, request && st.request.open, &st.request.written
		}
	case mapRequestTrailers:
		if request && st.request.tail || (response || sh.final) && !x.Uploading.Load() {
			f.h, f.open, f.written = &x.Request.Trailer, request && st.request.tail, &st.request.written
		}
	case mapResponseHeaders:
		if response || sh.final {
			f.h, f.open, f.written = &x.Response.Header, response && st.response.open, &st.response.written
		}
	case mapResponseTrailers:
		if response && st.response.tail || sh.final {
			f.h, f.open, f.written = &x.Response.Trailer, response && st.response.tail, &st.response.written
		}
	}
	if f.h != nil {
		f.x = x
	}
	return f, true
}

// at reports whether the call under way may touch what belongs to a half of st: it is made by who serves that half, or that
// one sleeps.
func (st *stream) at(h *half) bool { return st.sh.entered == h || h.parked }
