package exchange

import (
	"encoding/hex"
	"math/rand/v2"
)

// NewRequestID gives x a random UUID (RFC 9562 §5.4) as its id. It is for telling requests apart and is no secret.
func (x *Exchange) NewRequestID() {
	var u [16]byte
	a, b := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		u[i], u[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	d := x.id[:]
	hex.Encode(d[0:8], u[0:4])
	hex.Encode(d[9:13], u[4:6])
	hex.Encode(d[14:18], u[6:8])
	hex.Encode(d[19:23], u[8:10])
	hex.Encode(d[24:36], u[10:16])
	d[8], d[13], d[18], d[23] = '-', '-', '-', '-'
	x.RequestID = d
}
