package wire

import (
	"errors"
	"io"
	"math"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/pool"
)

// Side is whose body is read: it decides whose fault a bad one is.
type Side uint8

const (
	FromClient Side = iota
	FromUpstream
)

// sideFaults by Side: the message was cut, is malformed, did not come in time, its connection broke.
var sideFaults = [2]struct{ cut, bad, late, gone *fault.Fault }{
	{
		fault.New(fault.BodyTruncated, "request body cut"), fault.New(fault.BadRequest, "malformed chunk or trailer"),
		fault.New(fault.RequestTimeout, "request body idle"), fault.New(fault.ClientGone, "client reset the connection"),
	},
	{
		fault.New(fault.ResponseTruncated, "answer cut"), fault.New(fault.BadResponse, "malformed chunk or trailer"),
		fault.New(fault.UpstreamTimeout, "answer idle"), fault.New(fault.UpstreamReset, "upstream reset the connection"),
	},
}

// Blame turns an error of a connection's read or write into a fault of its side. cut stands for io.EOF.
func Blame(side Side, err error) error {
	f := &sideFaults[side]
	switch {
	case err == io.EOF:
		return f.cut
	case netio.IsTimeout(err):
		return f.late
	case errors.Is(err, netio.ErrAborted):
		return err
	}
	return f.gone
}

const (
	maxExtension = 256                   // bytes of extensions of one chunk
	maxSurplus   = 4 << 10               // bytes of extensions of one body
	maxSizeLine  = 16 + maxExtension + 2 // bytes of a chunk-size line
)

// BodyReader reads one message body off a connection and not a byte more, or hands back what it read beyond. It is an
// exchange.Source. One goroutine at a time; used again by Init.
type BodyReader struct {
	conn    *netio.Conn
	side    Side
	idle    time.Duration
	trailer *exchange.Header

	mode  BodyMode
	left  int64  // of the body or of the chunk
	ahead []byte // read and not yet used; a view of the head's buffer or of buf
	buf   []byte // lent by pool, chunked bodies only

	state   chunkState
	surplus int
	done    bool
	err     error // sticky: after a bad chunk nothing is read as if it were a good one
}

type chunkState uint8

const (
	inSize chunkState = iota
	inData
	inDataEnd
	inTrailer
)

// Init makes b read the body that f describes from c, of which ahead has been read already. idle is how long a read may
// wait. Trailer fields go to trailer.
func (b *BodyReader) Init(c *netio.Conn, side Side, f Framing, ahead []byte, idle time.Duration, trailer *exchange.Header) {
	pool.Release(b.buf)
	*b = BodyReader{conn: c, side: side, idle: idle, trailer: trailer, mode: f.Mode, left: f.Length, ahead: ahead}
	b.done = f.Mode == NoBody
}

// Done reports whether the body was read to its end: only then can the connection carry another message.
func (b *BodyReader) Done() bool { return b.done }

// Whole reports whether the rest of the body has been read ahead.
func (b *BodyReader) Whole() bool {
	return b.done || b.mode == FixedBody && int64(len(b.ahead)) >= b.left
}

// Ahead gives the bytes read beyond the body, once it is Done. It is a view, valid until Release.
func (b *BodyReader) Ahead() []byte { return b.ahead }

// Release gives buffers back.
func (b *BodyReader) Release() {
	pool.Release(b.buf)
	b.buf, b.ahead = nil, nil
}

// Read reads body bytes. io.EOF comes only after the end that the framing promised.
func (b *BodyReader) Read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	if b.err != nil {
		return 0, b.err
	}
	var n int
	switch b.mode {
	case FixedBody:
		n, b.err = b.readFixed(p)
	case ChunkedBody:
		n, b.err = b.readChunked(p)
	default:
		n, b.err = b.readUntilClose(p)
	}
	return n, b.err
}

func (b *BodyReader) readFixed(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.some(p)
	b.left -= int64(n)
	if err != nil {
		return n, Blame(b.side, err)
	}
	if b.left == 0 {
		b.done = true
		return n, io.EOF
	}
	return n, nil
}

func (b *BodyReader) readUntilClose(p []byte) (int, error) {
	n, err := b.some(p)
	if err == io.EOF {
		b.done = true
		return n, io.EOF
	}
	if err != nil {
		return n, Blame(b.side, err)
	}
	return n, nil
}

// some gives bytes read ahead, or reads.
func (b *BodyReader) some(p []byte) (int, error) {
	if len(b.ahead) > 0 {
		n := copy(p, b.ahead)
		b.ahead = b.ahead[n:]
		return n, nil
	}
	b.conn.ReadBy(clock.Nano(), b.idle)
	return b.conn.Read(p)
}

// readChunked reads data of one chunk, or of several while they are at hand (RFC 9112 §7.1).
func (b *BodyReader) readChunked(p []byte) (n int, err error) {
	for n < len(p) {
		switch b.state {
		case inSize:
			line, err := b.line()
			if err != nil {
				return n, err
			}
			if line == nil {
				break
			}
			if err := b.size(line); err != nil {
				return n, err
			}
			continue
		case inData:
			if len(b.ahead) == 0 && n > 0 {
				return n, nil
			}
			m, err := b.some(p[n:min(int64(len(p)), int64(n)+b.left)])
			if err != nil {
				return n, Blame(b.side, err)
			}
			n += m
			b.left -= int64(m)
			if b.left == 0 {
				b.state = inDataEnd
			}
			continue
		case inDataEnd:
			if len(b.ahead) < 2 {
				break
			}
			if b.ahead[0] != '\r' || b.ahead[1] != '\n' {
				return n, sideFaults[b.side].bad
			}
			b.ahead = b.ahead[2:]
			b.state = inSize
			continue
		case inTrailer:
			ok, err := b.trailers()
			if err != nil {
				return n, err
			}
			if ok {
				b.done = true
				return n, io.EOF
			}
		}
		// More of a line is needed. What has been read is passed on before anything is waited for.
		if n > 0 {
			return n, nil
		}
		if err := b.refill(); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// line cuts a chunk-size line off what is at hand; nil if it is not there as a whole.
func (b *BodyReader) line() ([]byte, error) {
	for i, c := range b.ahead {
		if i == maxSizeLine {
			break
		}
		if c == '\n' {
			line := b.ahead[:i]
			b.ahead = b.ahead[i+1:]
			return line, nil
		}
	}
	if len(b.ahead) >= maxSizeLine {
		return nil, sideFaults[b.side].bad
	}
	return nil, nil
}

// size reads a chunk-size line without its LF: hex digits, then perhaps extensions, which are dropped.
func (b *BodyReader) size(line []byte) error {
	bad := sideFaults[b.side].bad
	if len(line) == 0 || line[len(line)-1] != '\r' {
		return bad
	}
	line = line[:len(line)-1]
	var n int64
	i := 0
	for ; i < len(line) && hexDigit[line[i]] != 0xff; i++ {
		if i == 16 || n > math.MaxInt64>>4 {
			return bad
		}
		n = n<<4 | int64(hexDigit[line[i]])
	}
	if i == 0 {
		return bad
	}
	if ext := line[i:]; len(ext) > 0 {
		b.surplus += len(ext)
		if ext[0] != ';' || len(ext) > maxExtension || b.surplus > maxSurplus || !exchange.CleanValue(ext) {
			return bad
		}
	}
	b.left, b.state = n, inData
	if n == 0 {
		b.state = inTrailer
	}
	return nil
}

// refill reads more behind what is at hand; the lines of a chunked body must each fit into one small buffer.
func (b *BodyReader) refill() error {
	if b.buf == nil {
		b.buf = pool.Acquire(pool.Small)
	}
	n := copy(b.buf, b.ahead)
	if n == len(b.buf) {
		return sideFaults[b.side].bad
	}
	b.conn.ReadBy(clock.Nano(), b.idle)
	m, err := b.conn.Read(b.buf[n:])
	b.ahead = b.buf[:n+m]
	if err != nil {
		return Blame(b.side, err)
	}
	return nil
}
