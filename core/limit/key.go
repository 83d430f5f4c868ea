package limit

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
)

// Key names whom a request is charged to. It is a hash of 128 bits under secrets drawn when the process
// starts, so a client can neither choose keys that collide nor is a free-form value ever stored; it
// means nothing outside this process. The zero Key is a key too: the whole rule has one counter.
//
// Fields are hashed one by one, each under secrets of its kind, and combined as digests of fixed
// length: "a" and "bc" never meet "ab" and "c".
type Key struct {
	hi, lo uint64
}

type secret struct{ hi, lo maphash.Seed }

var (
	secrets    = struct{ bytes, ip, and secret }{newSecret(), newSecret(), newSecret()}
	secretSlot = maphash.MakeSeed()
)

func newSecret() secret { return secret{maphash.MakeSeed(), maphash.MakeSeed()} }

// KeyBytes is the key of one field. b is not kept.
func KeyBytes(b []byte) Key {
	return Key{maphash.Bytes(secrets.bytes.hi, b), maphash.Bytes(secrets.bytes.lo, b)}
}

// KeyString is KeyBytes of a string.
func KeyString(s string) Key {
	return Key{maphash.String(secrets.bytes.hi, s), maphash.String(secrets.bytes.lo, s)}
}

// KeyIP is the key of a client address: IPv4 whole, also when mapped into IPv6; IPv6 by its /64, which
// is the least a client is given, and without its zone. The zero Addr is one client.
func KeyIP(a netip.Addr) Key { return KeyIPPrefix(a, 64) }

// KeyIPPrefix is KeyIP with IPv6 cut to its first bits, 0 to 128.
func KeyIPPrefix(a netip.Addr, bits int) Key {
	var b [18]byte // family, prefix length, address
	switch a = a.Unmap(); {
	case a.Is4():
		v4 := a.As4()
		b[0], b[1] = 4, 32
		copy(b[2:], v4[:])
	case a.Is6():
		v6 := a.As16()
		bits = min(max(bits, 0), 128)
		b[0], b[1] = 6, byte(bits)
		whole := bits / 8
		copy(b[2:], v6[:whole])
		if rest := bits % 8; rest > 0 {
			b[2+whole] = v6[whole] &^ (0xff >> rest)
		}
	}
	return Key{maphash.Bytes(secrets.ip.hi, b[:]), maphash.Bytes(secrets.ip.lo, b[:])}
}

// And is the key of k and then other. The order matters.
func (k Key) And(other Key) Key {
	var b [32]byte
	binary.LittleEndian.PutUint64(b[0:], k.hi)
	binary.LittleEndian.PutUint64(b[8:], k.lo)
	binary.LittleEndian.PutUint64(b[16:], other.hi)
	binary.LittleEndian.PutUint64(b[24:], other.lo)
	return Key{maphash.Bytes(secrets.and.hi, b[:]), maphash.Bytes(secrets.and.lo, b[:])}
}

// slotHash is 128 bits again: lo alone tells the keys of one rule apart but for one pair in 2^64, and hi,
// which covers rule and key, is independent of it.
func slotHash(id uint64, k Key) (hi, lo uint64) {
	var b [24]byte
	binary.LittleEndian.PutUint64(b[0:], id)
	binary.LittleEndian.PutUint64(b[8:], k.hi)
	binary.LittleEndian.PutUint64(b[16:], k.lo)
	return maphash.Bytes(secretSlot, b[:]), k.lo ^ id
}
