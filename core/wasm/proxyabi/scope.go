package proxyabi

// scope is what a guest call works for: a root context or a stream. Guests know it by its id.
type scope struct {
	id     uint32
	root   *root
	stream *stream // nil: the root itself
}

// root is a plugin in one shard.
type root struct {
	scope
	sh      *shard
	plugin  *Plugin
	pending bool // proxy_on_done has asked to wait for proxy_done
	timer   timer
}

// scopes finds a scope by its id: an open-addressed table, since a map would have to be grown anew from time to time though
// its size stays the same. Not safe for concurrent use: the shard's mutex guards it.
type scopes struct {
	slots []*scope // a power of two
	n     int
}

func (t *scopes) place(id uint32) int { return int(id*2654435769>>7) & (len(t.slots) - 1) }

func (t *scopes) get(id uint32) *scope {
	if len(t.slots) == 0 {
		return nil
	}
	for i := t.place(id); ; i = (i + 1) & (len(t.slots) - 1) {
		if s := t.slots[i]; s == nil || s.id == id {
			return s
		}
	}
}

func (t *scopes) add(s *scope) {
	if 4*(t.n+1) > 3*len(t.slots) {
		old := t.slots
		t.slots, t.n = make([]*scope, max(64, 2*len(old))), 0
		for _, o := range old {
			if o != nil {
				t.add(o)
			}
		}
	}
	i := t.place(s.id)
	for t.slots[i] != nil {
		i = (i + 1) & (len(t.slots) - 1)
	}
	t.slots[i] = s
	t.n++
}

func (t *scopes) remove(id uint32) {
	if len(t.slots) == 0 {
		return
	}
	mask := len(t.slots) - 1
	i := t.place(id)
	for t.slots[i] == nil || t.slots[i].id != id {
		if t.slots[i] == nil {
			return
		}
		i = (i + 1) & mask
	}
	t.n--
	// What follows moves up, so that no gap ends a search too early.
	for j := (i + 1) & mask; t.slots[j] != nil; j = (j + 1) & mask {
		if home := t.place(t.slots[j].id); (j-home)&mask >= (j-i)&mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = nil
}

// each calls f for every scope there is; f must not add or remove any.
func (t *scopes) each(f func(*scope)) {
	for _, s := range t.slots {
		if s != nil {
			f(s)
		}
	}
}
