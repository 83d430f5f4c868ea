package exchange

import (
	"bytes"
	"sync"
)

// maxNotes is the most bytes of names and values that one exchange keeps.
const maxNotes = 64 << 10

// Notes are what filters of an exchange leave for one another, by name. The zero value is empty. Set and Get may be called
// concurrently: a filter at the body that goes up runs beside those at the answer.
type Notes struct {
	mu    sync.Mutex
	list  []note
	bytes []byte
}

// note is one: its name and value lie in bytes one after the other.
type note struct{ at, name, value int }

// Set keeps a copy of the value under the name. It reports false if there is no room.
func (n *Notes) Set(name, value []byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.bytes)+len(name)+len(value) > maxNotes {
		return false
	}
	at := len(n.bytes)
	n.bytes = append(append(n.bytes, name...), value...)
	for i := range n.list {
		if k := &n.list[i]; bytes.Equal(n.bytes[k.at:k.at+k.name], name) {
			*k = note{at, len(name), len(value)}
			return true
		}
	}
	n.list = append(n.list, note{at, len(name), len(value)})
	return true
}

// Get gives the value under the name, a view as long as the exchange lives: what was kept once is not written over.
func (n *Notes) Get(name []byte) (value []byte, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.list {
		k := &n.list[i]
		if end := k.at + k.name; bytes.Equal(n.bytes[k.at:end], name) {
			return n.bytes[end : end+k.value : end+k.value], true
		}
	}
	return nil, false
}

func (n *Notes) reset() {
	if cap(n.bytes) > 8<<10 {
		n.bytes = nil
	}
	*n = Notes{list: n.list[:0], bytes: n.bytes[:0]}
}
