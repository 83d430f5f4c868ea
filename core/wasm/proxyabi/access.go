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
	request, response := st.at(&st.request), st.at(&st.response)
	there := response || sh.final == st
	switch kind {
	case mapRequestHeaders:
		there = there || request
		f.open = request && st.request.open
	case mapRequestTrailers:
		f.open = request && st.request.tail
		there = f.open || there && !st.x.Uploading.Load()
	case mapResponseHeaders:
		f.open = response && st.response.open
	case mapResponseTrailers:
		f.open = response && st.response.tail
		there = f.open || sh.final == st
	}
	if there {
		open := f.open
		f = st.view(int(kind))
		f.open = open
	}
	return f, true
}

// view is a map of the stream, whoever may see it at the moment.
func (st *stream) view(kind int) fields {
	x := st.x
	f := fields{x: x, half: &st.request, kind: kind, length: -1, lent: st.sh.number[:0]}
	switch kind {
	case mapRequestHeaders:
		f.h = &x.Request.Header
	case mapRequestTrailers:
		f.h = &x.Request.Trailer
	case mapResponseHeaders:
		f.h, f.half, f.status = &x.Response.Header, &st.response, x.Response.Status
	case mapResponseTrailers:
		f.h, f.half = &x.Response.Trailer, &st.response
	}
	if (kind == mapRequestHeaders || kind == mapResponseHeaders) && !f.half.unsized {
		f.length = f.half.sized()
	}
	return f
}

// at reports whether the call under way may touch what belongs to a half of st: it is made by who serves that half, or that
// one sleeps.
func (st *stream) at(h *half) bool { return st.sh.entered == h || h.parked }

// settled reports whether the call under way may touch what belongs to who serves the exchange: the answer, and the record. A
// body on its way up is pulled by somebody else.
func (st *stream) settled() bool {
	return st.sh.final == st || st.at(&st.response) || st.at(&st.request) && !st.x.Uploading.Load()
}
