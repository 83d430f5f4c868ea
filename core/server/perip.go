package server

import (
	"net/netip"
	"sync"
)

// ipKey is whom a connection counts for: an IPv4 address, or the /64 of an IPv6 one, which is what one customer has. The
// zero key is nobody.
type ipKey [16]byte

func keyOf(a netip.Addr) ipKey {
	if !a.IsValid() {
		return ipKey{}
	}
	if a = a.Unmap(); a.Is4() {
		return a.As16()
	}
	k := ipKey(a.As16())
	clear(k[8:])
	return k
}

// perIP counts the open connections of addresses. It holds what is open and nothing else, so it is bounded as they are.
type perIP struct {
	mu      sync.Mutex
	open    map[ipKey]int
	refused int64
}

// enter counts a connection, unless there are most of that key already; 0 is no limit. Nobody's are not counted.
func (p *perIP) enter(k ipKey, most int) bool {
	if k == (ipKey{}) {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.open[k]
	if most > 0 && n >= most {
		p.refused++
		return false
	}
	if p.open == nil {
		p.open = map[ipKey]int{}
	}
	p.open[k] = n + 1
	return true
}

// leave takes back what enter counted.
func (p *perIP) leave(k ipKey) {
	if k == (ipKey{}) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.open[k]; n > 1 {
		p.open[k] = n - 1
	} else {
		delete(p.open, k)
	}
}

func (p *perIP) refusals() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}
