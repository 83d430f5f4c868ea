package wasm

import (
	"encoding/binary"
	"time"
)

const (
	wasiPollMost = 1024 // subscriptions of one call
	wasiEvent    = 32   // bytes of an event
	burnPoll     = 10 * time.Nanosecond
)

// wasiPoll answers at once. A clock has always run down, since waiting would hold the instance: who waits for a time asks
// again until it has come, on its own budget. The standard outputs can be written; all else is no descriptor. An event
// for each clock matters: Rust's thread::sleep panics without one, and Go's runtime dies of an error number.
func wasiPoll(in *Instance, s []uint64) uint32 { return in.poll(s, 48) }

// wasiPollUnstable is poll_oneoff of wasi_unstable, whose subscriptions name the clock once more.
func wasiPollUnstable(in *Instance, s []uint64) uint32 { return in.poll(s, 56) }

func (in *Instance) poll(s []uint64, size uint32) uint32 {
	subs, events, n := uint32(s[0]), uint32(s[1]), uint32(s[2])
	if n > wasiPollMost {
		return wasiInval
	}
	list, ok := in.mem.Read(subs, n*size)
	if !ok {
		return wasiFault
	}
	// Written even where it may overlap the subscriptions: a guest that asks for that gets what it asked for.
	out, ok := in.mem.Read(events, n*wasiEvent)
	if !ok || !in.mem.PutUint32(uint32(s[3]), n) {
		return wasiFault
	}
	in.Burn(burnCall + time.Duration(n)*burnPoll)
	for ; n > 0; n-- {
		var e [wasiEvent]byte
		copy(e[:8], list)
		kind := list[8]
		e[10] = kind
		if fd := binary.LittleEndian.Uint32(list[16:]); kind != 0 && (kind != 2 || fd != 1 && fd != 2) {
			e[8] = wasiBadf
		}
		copy(out, e[:])
		list, out = list[size:], out[wasiEvent:]
	}
	return 0
}
