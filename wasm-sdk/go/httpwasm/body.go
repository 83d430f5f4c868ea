package httpwasm

// Body is a body.
type Body struct{ kind uint32 }

// Read reads into p, which must not be empty, as far as the body goes. eof tells that nothing is left. Without
// BufferRequest the upstream does not see what was read of a request.
func (b Body) Read(p []byte) (n int, eof bool) {
	ptr, limit := bytesOf(p)
	r := readBody(b.kind, ptr, limit)
	return int(uint32(r)), r>>32 != 0
}

// Write writes: the first call replaces the body that was there, later ones append.
func (b Body) Write(p []byte) { ptr, n := bytesOf(p); writeBody(b.kind, ptr, n) }

// WriteString is Write for text.
func (b Body) WriteString(s string) { ptr, n := textOf(s); writeBody(b.kind, ptr, n) }
