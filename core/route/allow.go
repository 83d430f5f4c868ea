package route

import (
	"bytes"
	"math"

	"github.com/weirproxy/weir/core/exchange"
)

// AppendMethods appends the methods with which r, which no match is for, would find one: a list as Allow has it (RFC 9110
// §10.2.1). Nothing is appended if it is not the method that keeps r from them.
func (t *Table) AppendMethods(dst []byte, r *exchange.Request) []byte {
	q := query{t: t, r: r, best: math.MaxInt, listing: true, list: dst, start: len(dst)}
	t.walk(&q)
	return q.list
}

// refused notes the methods of a rule that takes all of a request but its method.
func (q *query) refused(r *rule) {
	if len(r.methods) == 0 || !r.hasHeaders(q.r) {
		return
	}
	for _, m := range r.methods {
		q.allow(m)
		if m == "GET" {
			q.allow("HEAD")
		}
	}
}

func (q *query) allow(method string) {
	list := q.list[q.start:]
	for rest := list; len(rest) > 0; {
		item, after, _ := bytes.Cut(rest, comma)
		if string(item) == method {
			return
		}
		rest = after
	}
	if len(list) > 0 {
		q.list = append(q.list, comma...)
	}
	q.list = append(q.list, method...)
}

var comma = []byte(", ")
