package wasm

import "bytes"

// lineMost is the longest line handed on whole.
const lineMost = 4 << 10

// lineBuffer gathers what a guest writes into lines. Its buffer is made at the first unfinished line.
type lineBuffer struct{ b []byte }

func (l *lineBuffer) write(log func(int, []byte), fd int, p []byte) {
	if log == nil {
		return
	}
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		switch {
		case i >= 0 && len(l.b) == 0 && i <= lineMost:
			log(fd, p[:i])
			p = p[i+1:]
		case i >= 0 && len(l.b)+i <= lineMost:
			l.b = append(l.b, p[:i]...)
			p = p[i+1:]
			l.flush(log, fd)
		default:
			n := min(len(p), lineMost-len(l.b))
			l.b = append(l.b, p[:n]...)
			p = p[n:]
			if len(l.b) == lineMost {
				l.flush(log, fd)
			}
		}
	}
}

func (l *lineBuffer) flush(log func(int, []byte), fd int) {
	if log != nil && len(l.b) > 0 {
		log(fd, l.b)
	}
	l.b = l.b[:0]
}
