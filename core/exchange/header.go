package exchange

// Field is one line of a header or trailer section: name in the case it came in, value without the space around it.
type Field struct {
	Name, Value []byte
	ID          ID
}

// Header is an ordered list of fields; duplicates stay apart and in order (RFC 9110 §5.3). Names compare in any case.
// Field bytes may be views of a connection's buffer: they are valid until the exchange is released. One goroutine at a time.
type Header struct {
	fields []Field
	arena  []byte // backs what was set here, as opposed to read from a wire
}

// Len is the number of fields.
func (h *Header) Len() int { return len(h.fields) }

// At gives field i in order; the view is valid until the header changes.
func (h *Header) At(i int) *Field { return &h.fields[i] }

// Get gives the value of the first field called name, which must be lower-case; nil if there is none.
func (h *Header) Get(name string) []byte {
	if i := h.Index(name, 0); i >= 0 {
		return h.fields[i].Value
	}
	return nil
}

// GetID is Get for a known name.
func (h *Header) GetID(id ID) []byte {
	for i := range h.fields {
		if h.fields[i].ID == id {
			return h.fields[i].Value
		}
	}
	return nil
}

// CountID counts the fields of a known name.
func (h *Header) CountID(id ID) (n int) {
	for i := range h.fields {
		if h.fields[i].ID == id {
			n++
		}
	}
	return n
}

// Index finds the first field called name (lower-case) at or after from; -1 if there is none.
func (h *Header) Index(name string, from int) int {
	for i := from; i < len(h.fields); i++ {
		if EqualFold(h.fields[i].Name, name) {
			return i
		}
	}
	return -1
}

// Append adds a field whose bytes the caller keeps alive and unchanged until the exchange is released. They are taken as
// they are: the name is a token, the value clean.
func (h *Header) Append(name, value []byte, id ID) {
	h.fields = append(h.fields, Field{name, value, id})
}

// Add appends a field and copies its bytes. Nothing that it is given can make another field: a control character in the
// value becomes a space (RFC 9110 §5.5), and a field whose name is no token is not added.
func (h *Header) Add(name, value []byte) {
	if !isToken(name) {
		return
	}
	n := h.keep(name)
	h.fields = append(h.fields, Field{n, h.keepValue(value), Identify(n)})
}

// AddString is Add with a name that needs no copy.
func (h *Header) AddString(name string, value []byte) {
	n := stringBytes(name)
	if !isToken(n) {
		return
	}
	h.fields = append(h.fields, Field{n, h.keepValue(value), Identify(n)})
}

// Set gives the first field called name, in any case, the value, at its place, and deletes the others; without one it
// adds. Of the bytes the same is true as for Add.
func (h *Header) Set(name string, value []byte) {
	i := h.index(name)
	if i < 0 {
		h.AddString(name, value)
		return
	}
	h.fields[i].Value = h.keepValue(value)
	h.delFrom(name, i+1)
}

// SetID is Set for a known name.
func (h *Header) SetID(id ID, value []byte) { h.Set(names[id], value) }

// Del deletes every field called name, in any case.
func (h *Header) Del(name string) { h.delFrom(name, 0) }

// DelID deletes every field of a known name.
func (h *Header) DelID(id ID) {
	kept := h.fields[:0]
	for _, f := range h.fields {
		if f.ID != id {
			kept = append(kept, f)
		}
	}
	h.fields = kept
}

// DelLike deletes every field that a server may take for the lower-case name: in any case, and with anything for its dashes
// that is no letter or digit.
func (h *Header) DelLike(name string) {
	h.DelFunc(func(f *Field) bool { return dashed(f.Name, name) })
}

// DelFunc deletes the fields for which drop answers true.
func (h *Header) DelFunc(drop func(*Field) bool) {
	kept := h.fields[:0]
	for i := range h.fields {
		if !drop(&h.fields[i]) {
			kept = append(kept, h.fields[i])
		}
	}
	h.fields = kept
}

// Truncate keeps the first n fields.
func (h *Header) Truncate(n int) { h.fields = h.fields[:n] }

// Keep copies b into memory that lives as long as the header.
func (h *Header) Keep(b []byte) []byte { return h.keep(b) }

// KeepBoth is Keep of a and then b as one piece.
func (h *Header) KeepBoth(a string, b []byte) []byte {
	n := len(h.arena)
	h.arena = append(append(h.arena, a...), b...)
	return h.arena[n:len(h.arena):len(h.arena)]
}

// Bytes is the number of bytes of all names and values.
func (h *Header) Bytes() (n int) {
	for i := range h.fields {
		n += len(h.fields[i].Name) + len(h.fields[i].Value)
	}
	return n
}

func (h *Header) index(name string) int {
	for i := range h.fields {
		if foldBoth(h.fields[i].Name, name) {
			return i
		}
	}
	return -1
}

func (h *Header) delFrom(name string, from int) {
	kept := h.fields[:from]
	for _, f := range h.fields[from:] {
		if !foldBoth(f.Name, name) {
			kept = append(kept, f)
		}
	}
	h.fields = kept
}

// foldBoth compares two ASCII names, either in any case: names from filters are not lower-case by contract.
func foldBoth(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		x, y := a[i], b[i]
		if x-'A' < 26 {
			x |= 0x20
		}
		if y-'A' < 26 {
			y |= 0x20
		}
		if x != y {
			return false
		}
	}
	return true
}

// keep appends to the arena. When the arena must move, what was kept before stays alive in the old one.
func (h *Header) keep(b []byte) []byte {
	n := len(h.arena)
	h.arena = append(h.arena, b...)
	return h.arena[n:len(h.arena):len(h.arena)]
}

func (h *Header) keepValue(v []byte) []byte {
	kept := h.keep(v)
	if !CleanValue(kept) {
		for i, c := range kept {
			if c < ' ' && c != '\t' || c == 0x7f {
				kept[i] = ' '
			}
		}
	}
	return kept
}

func (h *Header) reset() {
	f, a := h.fields, h.arena
	if cap(f) > 256 {
		f = nil
	}
	if cap(a) > 16<<10 {
		a = nil
	}
	clear(f[:cap(f)])
	*h = Header{fields: f[:0], arena: a[:0]}
}

// dashed compares a field name with a lower-case one. An underscore is as good as a dash, since many servers take them for
// the same (RFC 3875 §4.1.18), and some make an underscore of every character that is no letter or digit.
func dashed(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if c-'A' < 26 {
			c |= 0x20
		}
		if c != lower[i] && (plain(c) || plain(lower[i])) {
			return false
		}
	}
	return true
}

// plain tells the letters, in lower case, and digits.
func plain(c byte) bool { return c-'a' < 26 || c-'0' < 10 }
