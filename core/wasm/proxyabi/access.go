package proxyabi

import "github.com/weirproxy/weir/core/exchange"

// fields is a map as a guest sees it: a header section, and what stands before and behind it.
type fields struct {
	x      *exchange.Exchange // nil: the section is no exchange's
	h      *exchange.Header   // nil: there is no such map now
	half   *half              // whose the section is; nil without x
	kind   int                // which of the maps
	status int                // of an answer; 0: none
	length int64              // of the body behind the section; below 0: not known, or not said
	open   bool               // it may be changed
	lent   []byte             // room for a number
}

// fieldsOf finds the map that a guest names. A map that there is none of at the moment is one without h: reading gives nothing
// from it, and what is written to it is dropped. ok is false for a number that no map has.
//
// The headers of an exchange are touched by calls for it only, and by others only while it is parked. While the guest's
// allocator runs there are none at all, since the host is in the midst of reading one.
func (sh *shard) fieldsOf(kind uint32) (f fields, ok bool) {
	if kind >= maps {
		return fields{}, false
	}
	f.kind, f.length, f.lent = int(kind), -1, sh.number[:0]
	if sh.granting {
		return f, true
	}
	if m := sh.message; m != nil && kind >= mapGrpcInitial {
		f.h = m.head
		if kind == mapGrpcTrailing || kind == mapCallTrailers {
			f.h = m.trailer
		} else if kind == mapCallHeaders && f.h != nil {
			f.status = m.status
			if n := len(m.body); n > 0 {
				f.length = int64(n)
			}
		}
		return f, true
	}
	st := sh.stream()
	if st == nil || kind >= mapGrpcInitial {
		return f, true
	}
	f.of(st)
	if f.h == nil {
		return f, true
	}
	f.x = st.x
	if f.half.unsized {
		f.length = -1
	}
	return f, true
}

// of finds a map of a stream, if the call under way may touch it.
func (f *fields) of(st *stream) {
	request, response, x := st.at(&st.request), st.at(&st.response), st.x
	switch f.kind {
	case mapRequestHeaders:
		f.half = &st.request
		if request || response || st.sh.final {
			f.h, f.open, f.length = &x.Request.Header, request && st.request.open, st.request.sized(x)
		}
	case mapRequestTrailers:
		f.half = &st.request
		if request && st.request.tail || (response || st.sh.final) && !x.Uploading.Load() {
			f.h, f.open = &x.Request.Trailer, request && st.request.tail
		}
	case mapResponseHeaders:
		f.half = &st.response
		if response || st.sh.final {
			f.h, f.open, f.length = &x.Response.Header, response && st.response.open, st.response.sized(x)
			f.status = x.Response.Status
		}
	case mapResponseTrailers:
		f.half = &st.response
		if response && st.response.tail || st.sh.final {
			f.h, f.open = &x.Response.Trailer, response && st.response.tail
		}
	}
}

// at reports whether the call under way may touch what belongs to a half of st: it is made by who serves that half, or that
// one sleeps.
func (st *stream) at(h *half) bool { return st.sh.entered == h || h.parked }

// settled reports whether the call under way may touch what belongs to who serves the exchange: the answer, and the record. A
// body on its way up is pulled by somebody else.
func (st *stream) settled() bool {
	return st.sh.final || st.at(&st.response) || st.at(&st.request) && !st.x.Uploading.Load()
}
