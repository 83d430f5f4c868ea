// Package exchange holds one request's whole state, from its first byte to the line in the access log.
package exchange

import (
	"crypto/x509"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/pool"
)

// Version of HTTP as major*10+minor.
const (
	HTTP10 = 10
	HTTP11 = 11
	HTTP20 = 20
)

// Request is a request as it stands: at first what the client sent, then what filters and stages made of it.
type Request struct {
	Method  []byte
	Target  []byte // path and query as they will be forwarded: normalised (RFC 3986 §6.2.2), never re-encoded
	Path    []byte // the part of Target before the query
	Query   []byte // the part after the '?', without it
	Host    []byte // authority: host and port as the client named them, "" if it named none (HTTP/1.0)
	Version int
	Header  Header
	Trailer Header
	Body    Body

	Trailers bool // the client accepts trailer fields (TE: trailers)
	Close    bool // the client wants the connection closed after the answer
	Upgrade  bool // a well-formed WebSocket handshake
	Expect   bool // waits for 100 Continue; weir answers it when the body is first pulled
}

// Response is an answer as it stands: the upstream's, or our own.
type Response struct {
	Status  int
	Reason  []byte // may be empty
	Version int
	Header  Header
	Trailer Header
	Body    Body
	Close   bool // the connection to the client ends after it
	Local   bool // made by weir or a filter, not by an upstream

	// Declared is the Content-Length of the answer that an upstream sent, -1 without: for HEAD and 304 it is no body's.
	Declared int64
}

// Asked is what of the client's own request frames the answer, whatever filters and stages make of the request.
type Asked struct {
	Head    bool // by the method HEAD: the answer has no body
	Version int
}

// Client is who asked.
type Client struct {
	Peer   netip.AddrPort // the other end of the connection
	Text   []byte         // Peer's address as text, a view of the connection's
	IP     netip.Addr     // after trusted proxies were believed; equals Peer's address else
	Secure bool           // came over TLS, to us or to a trusted proxy in front

	// Certificate is what the client's own proves, one for all exchanges of the connection; nil without a verified one.
	Certificate *Certificate

	Local      netip.AddrPort // our end of the connection; the zero value if it has none, as a unix socket's
	Connection uint64         // a number of its own for every connection of the process
	TLS        *TLS           // nil: not TLS, or not ours
}

// TLS is what a handshake with the client has agreed on. It is shared by all exchanges of a connection and never changed.
type TLS struct {
	Version    uint16            // as crypto/tls numbers them
	ServerName string            // SNI; may be empty
	Protocol   string            // ALPN; may be empty
	Peer       *x509.Certificate // the client's own, verified or not; nil without one
	Verified   bool
	Subject    string // Peer's, roughly as RFC 2253 writes it
	URI        string // the first among Peer's alternative names; may be empty
}

// Record is what will be known of the exchange when it is over: for the access log and the metrics.
type Record struct {
	Start, UpstreamStart, FirstByte, End int64 // clock.Nano; 0 = did not happen
	BytesIn, BytesOut                    int64 // body bytes
	Route, Upstream, Endpoint            string
	Rule                                 string // the limit rule that refused
	Reason                               string // why a credential was refused, or what a filter said
	Filter                               string // the filter that answered or failed
	Fault                                fault.Kind
	Tries                                int
	UpstreamStatus                       int // of the upstream's answer, whatever filters made of it; 0 without one
}

// Downstream is the client's side of an exchange, which speaks whatever version the client does.
type Downstream interface {
	// Inform sends an interim answer (103) with x.Response's status and fields at once, if the client's version has them and
	// the final head has not been written; else it does nothing.
	Inform(x *Exchange) error
	// WriteHead sends x.Response's status and fields. The framing is the implementation's: length is the number of
	// body bytes to come, -1 if that is not known. Nothing need reach the client before the next call.
	WriteHead(x *Exchange, length int64) error
	// WriteBody sends body bytes; flush says that no more is at hand and the client must see them now. No bytes and flush
	// sends what has been held back.
	WriteBody(p []byte, flush bool) error
	// Finish ends the message with the trailer fields (nil or empty for none) and flushes.
	Finish(trailer *Header) error
	// Abort breaks the connection, so that what was sent can't be taken for a whole message.
	Abort()
	// Tunnel hands the client's bytes over after a 101 that WriteHead has sent: those read ahead come first.
	Tunnel() (c Pipe, ahead []byte, err error)
}

// Pipe is one side of a tunnel: a connection, or a stream of one. One goroutine reads and one writes; Abort is anybody's.
type Pipe interface {
	Link
	// ReadBy and WriteBy bound what comes after them: most from now (clock.Nano); 0 is no limit.
	ReadBy(now int64, most time.Duration)
	WriteBy(now int64, most time.Duration)
	// ReadPooled waits without a buffer and reads into one of at least size bytes lent by pool, which the caller releases;
	// io.EOF when the peer has ended its side. An error and bytes never come together.
	ReadPooled(size int) (buf []byte, n int, err error)
	Write(p []byte) (int, error)
	// CloseWrite ends this side; the other may go on.
	CloseWrite() error
}

// Quota is what a client is told of the limit that is closest for it.
type Quota struct {
	Set                     bool
	Limit, Remaining, Reset int64 // requests, requests, Unix seconds
	Retry                   int64 // seconds; 0: not refused
}

// State is what a filter keeps of one exchange. Release is called once, when the exchange ends, whatever happened.
type State interface {
	Release(x *Exchange)
}

// MaxSlots is the most filters one route may carry, and one exchange may come to on all routes that it is sent along.
const MaxSlots = 16

// Params are the path segments that a route's pattern named.
type Params struct {
	n      int
	names  [8]string
	values [8][]byte
}

// Set adds a segment; at most eight are kept. The value is a view as long as the request's path is one.
func (p *Params) Set(name string, value []byte) {
	if p.n < len(p.names) {
		p.names[p.n], p.values[p.n] = name, value
		p.n++
	}
}

// Get gives the segment called name; nil if there is none.
func (p *Params) Get(name string) []byte {
	for i := range p.n {
		if p.names[i] == name {
			return p.values[i]
		}
	}
	return nil
}

// Clear forgets all segments.
func (p *Params) Clear() { p.n = 0 }

// Exchange is one request and its answer. It belongs to the goroutine that serves it; only Handle's methods may be called by others.
// Everything in it is valid until Release and is used again after: what outlives the exchange is copied.
type Exchange struct {
	Request   Request
	Response  Response
	Asked     Asked // once the request has been read
	Client    Client
	RequestID []byte // a view; also sent to the upstream and to the client
	Identity  *Identity
	Params    Params
	Down      Downstream
	Record    Record
	Quota     Quota
	Notes     Notes
	Sent      bool // the head of the answer has been handed to Down
	Reroute   bool // a filter has changed what routes are found by, and wants the route to be found anew: heard when its Request gives Continue
	Slots     [MaxSlots]State

	// Guarded are field names, lower-case, that the client may not send to the upstream, not in trailers either.
	Guarded []string

	// WriteIdle is how long the client may take no bytes of the answer; 0 is for ever.
	WriteIdle time.Duration

	// Uploading is true while another goroutine pulls the request's body; the one that serves x must not then.
	Uploading atomic.Bool

	Scratch []byte // for building values; anybody's between two calls

	head []byte // lent by pool; backs the views of Request
	back []byte // lent by pool; backs the views of Response
	id   [36]byte

	mu     sync.Mutex
	gen    uint64
	cause  *fault.Fault
	legs   [2]Link
	waits  []Link
	begun  bool // as Sent, for Cancel
	unread bool // nobody wants more of the request's body
	leave  func()
}

var exchanges = sync.Pool{New: func() any {
	x := &Exchange{Scratch: make([]byte, 0, 512)}
	x.reset() // so that a new one is as empty as a used one
	return x
}}

// Acquire lends an empty exchange.
func Acquire() *Exchange { return exchanges.Get().(*Exchange) }

// Release ends the exchange: filters' states are released, buffers given back, handles die.
func Release(x *Exchange) {
	for i, s := range x.Slots {
		if s != nil {
			x.Slots[i] = nil
			s.Release(x)
		}
	}
	x.reset()
	exchanges.Put(x)
}

// reset keeps buffers and the generation, and nothing else; a test fills every field and compares.
func (x *Exchange) reset() {
	pool.Release(x.head)
	pool.Release(x.back)
	x.mu.Lock()
	x.gen++
	x.cause, x.legs, x.begun, x.unread, x.leave = nil, [2]Link{}, false, false, nil
	clear(x.waits)
	x.waits = x.waits[:0]
	x.mu.Unlock()
	x.head, x.back, x.id = nil, nil, [36]byte{}
	x.Request.reset()
	x.Response.reset()
	x.Asked, x.Client = Asked{}, Client{}
	x.RequestID, x.Identity, x.Down, x.Guarded = nil, nil, nil, nil
	x.Params = Params{}
	x.Record, x.Quota = Record{}, Quota{}
	x.Sent, x.Reroute, x.WriteIdle = false, false, 0
	x.Notes.reset()
	x.Uploading.Store(false)
	if cap(x.Scratch) > 8<<10 {
		x.Scratch = nil
	}
	x.Scratch = x.Scratch[:0]
}

func (r *Request) reset() {
	r.Header.reset()
	r.Trailer.reset()
	r.Body.reset()
	*r = Request{Header: r.Header, Trailer: r.Trailer, Body: r.Body}
}

func (r *Response) reset() {
	r.Header.reset()
	r.Trailer.reset()
	r.Body.reset()
	*r = Response{Header: r.Header, Trailer: r.Trailer, Body: r.Body}
}

// Ask notes what frames the answer, when the request stands as the client has sent it.
func (x *Exchange) Ask() {
	x.Asked = Asked{Head: string(x.Request.Method) == "HEAD", Version: x.Request.Version}
}

// ClearResponse forgets an answer that will not be sent, so that another can be made in its place.
func (x *Exchange) ClearResponse() { x.Response.reset() }

// OwnHead makes x give buf back to pool when it is released: the views of the request point into it.
func (x *Exchange) OwnHead(buf []byte) { x.head = buf }

// OwnBack is OwnHead for the views of the response; what it held before is given back.
func (x *Exchange) OwnBack(buf []byte) {
	pool.Release(x.back)
	x.back = buf
}
