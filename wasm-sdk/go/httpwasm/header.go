package httpwasm

// Header is a header or trailer section. Names may be in any case.
type Header struct{ kind uint32 }

// Get gives the first value of a field, a view, and whether there is one.
func (h Header) Get(name string) (value []byte, ok bool) {
	list, n := h.values(name)
	if n == 0 {
		return nil, false
	}
	return cut(&list), true
}

// Values calls each with every value of a field, in order. The value is a view; each must not call this package with it at
// hand unless it copies.
func (h Header) Values(name string, each func(value []byte)) {
	list, n := h.values(name)
	for range n {
		each(cut(&list))
	}
}

// Names calls each with every name, in lower case. The name is a view, as in Values.
func (h Header) Names(each func(name []byte)) {
	list, n := fillList(func(p pointer, limit uint32) uint64 { return getHeaderNames(h.kind, p, limit) })
	for range n {
		each(cut(&list))
	}
}

// Set replaces all values of a field by one.
func (h Header) Set(name, value string) {
	n, nn := textOf(name)
	v, vn := textOf(value)
	setHeaderValue(h.kind, n, nn, v, vn)
}

// SetBytes is Set for a value in bytes, which may be a view.
func (h Header) SetBytes(name string, value []byte) {
	n, nn := textOf(name)
	v, vn := bytesOf(value)
	setHeaderValue(h.kind, n, nn, v, vn)
}

// Add adds a value to a field.
func (h Header) Add(name, value string) {
	n, nn := textOf(name)
	v, vn := textOf(value)
	addHeaderValue(h.kind, n, nn, v, vn)
}

// Remove removes a field.
func (h Header) Remove(name string) { n, nn := textOf(name); removeHeader(h.kind, n, nn) }

func (h Header) values(name string) (list []byte, count uint32) {
	n, nn := textOf(name)
	return fillList(func(p pointer, limit uint32) uint64 { return getHeaderValues(h.kind, n, nn, p, limit) })
}

// cut takes the first of NUL-terminated texts off a list.
func cut(list *[]byte) []byte {
	for i, c := range *list {
		if c == 0 {
			first := (*list)[:i]
			*list = (*list)[i+1:]
			return first
		}
	}
	first := *list
	*list = nil
	return first
}
