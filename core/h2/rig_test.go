package h2

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/wire"
)

// rig is a listener whose connections are Servers.
type rig struct {
	t       testing.TB
	ln      net.Listener
	set     Settings
	tls     *tls.Config
	handle  func(x *exchange.Exchange, err error)
	limits  wire.Limits
	idle    time.Duration
	patient time.Duration // WriteIdle of exchanges

	mu      sync.Mutex
	servers []*Server
	wg      sync.WaitGroup
	ends    chan error // how connections ended
}

func startServer(t testing.TB, set Settings, handle func(x *exchange.Exchange, err error)) *rig {
	t.Helper()
	return start(t, &rig{set: set, handle: handle})
}

func start(t testing.TB, r *rig) *rig {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.t, r.ln, r.ends = t, ln, make(chan error, 1000)
	if r.limits.Fields == 0 {
		r.limits = wire.Defaults
	}
	r.wg.Go(r.accept)
	t.Cleanup(func() {
		ln.Close()
		r.mu.Lock()
		for _, v := range r.servers {
			v.Abort(kinds[0].gone)
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

func (r *rig) accept() {
	for {
		nc, err := r.ln.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() {
			defer nc.Close()
			c := netio.New(nc)
			if r.tls != nil {
				t := tls.Server(c, r.tls)
				if t.Handshake() != nil {
					return
				}
				c = netio.New(t)
			}
			v := NewServer(c, r.set, r.serve)
			r.mu.Lock()
			r.servers = append(r.servers, v)
			r.mu.Unlock()
			err := v.Serve(nil)
			select {
			case r.ends <- err:
			default: // nobody asks in tests of many connections
			}
		})
	}
}

func (r *rig) serve(s *Stream) {
	x := exchange.Acquire()
	x.WriteIdle = r.patient
	err := s.Begin(x, &r.limits, r.idle)
	r.handle(x, err)
	exchange.Release(x)
}

func (r *rig) server(i int) *Server {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.servers[i]
}

// end waits for the end of a connection.
func (r *rig) end() error {
	r.t.Helper()
	select {
	case err := <-r.ends:
		return err
	case <-time.After(10 * time.Second):
		r.t.Fatal("connection does not end")
		return nil
	}
}

// client is net/http's, over HTTP/2 only.
func (r *rig) client() *http.Client {
	t := &http.Transport{Protocols: new(http.Protocols)}
	t.Protocols.SetUnencryptedHTTP2(true)
	r.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

func (r *rig) url(path string) string { return "http://" + r.ln.Addr().String() + path }

// reply answers x with a status and a body.
func reply(x *exchange.Exchange, status int, body string, fields ...string) {
	x.Response.Status, x.Response.Local, x.Response.Declared = status, true, -1
	for i := 0; i+1 < len(fields); i += 2 {
		x.Response.Header.AddString(fields[i], []byte(fields[i+1]))
	}
	if x.Down.WriteHead(x, int64(len(body))) == nil && x.Down.WriteBody([]byte(body), false) == nil && x.Down.Finish(nil) == nil {
		return
	}
	x.Down.Abort()
}

// drain reads the request's body to its end.
func drain(x *exchange.Exchange) ([]byte, error) {
	var all []byte
	buf := make([]byte, 8<<10)
	for {
		p, err := x.Request.Body.Next(buf)
		all = append(all, p...)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// echo sends the body back, with its length in front.
func echo(x *exchange.Exchange, err error) {
	if err != nil {
		reply(x, 400, err.Error())
		return
	}
	body, err := drain(x)
	if err != nil {
		x.Down.Abort()
		return
	}
	reply(x, 200, string(body), "X-Length", strconv.Itoa(len(body)))
}

// raw is a client that speaks in frames.
type raw struct {
	*http2.Framer
	t   testing.TB
	nc  net.Conn
	enc *hpack.Encoder
	buf bytes.Buffer
	dec *hpack.Decoder
}

// dial opens a connection and sends preface and settings.
func (r *rig) dial(settings ...http2.Setting) *raw {
	r.t.Helper()
	c := r.dialBare()
	if _, err := io.WriteString(c.nc, Preface); err != nil {
		r.t.Fatal(err)
	}
	if err := c.WriteSettings(settings...); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) dialBare() *raw {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.ln.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { nc.Close() })
	return newRaw(r.t, nc)
}

func newRaw(t testing.TB, nc net.Conn) *raw {
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	c := &raw{Framer: http2.NewFramer(nc, nc), t: t, nc: nc, dec: hpack.NewDecoder(4096, nil)}
	c.AllowIllegalWrites = true
	c.enc = hpack.NewEncoder(&c.buf)
	return c
}

// block encodes name, value, ….
func (c *raw) block(fields ...string) []byte {
	c.buf.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		_ = c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(c.buf.Bytes())
}

// get is the pseudo-fields of a GET and more.
func get(more ...string) []string {
	return append([]string{":method", "GET", ":scheme", "http", ":authority", "a.example", ":path", "/"}, more...)
}

func post(more ...string) []string {
	return append([]string{":method", "POST", ":scheme", "http", ":authority", "a.example", ":path", "/"}, more...)
}

// ask sends a header section.
func (c *raw) ask(id uint32, end bool, fields ...string) {
	c.t.Helper()
	c.headers(id, end, c.block(fields...))
}

func (c *raw) headers(id uint32, end bool, block []byte) {
	n := min(len(block), frameSize)
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:n], EndStream: end, EndHeaders: n == len(block)})
	for block = block[n:]; len(block) > 0; block = block[n:] {
		n = min(len(block), frameSize)
		_ = c.WriteContinuation(id, n == len(block), block[:n])
	}
}

// got is a frame as tests look at it.
type got struct {
	http2.FrameHeader
	code   http2.ErrCode
	last   uint32
	fields map[string]string
	data   string
	ack    bool
	n      uint32
}

// next reads a frame; a header section must lie in one.
func (c *raw) next() (g got, err error) {
	f, err := c.ReadFrame()
	if err != nil {
		return g, err
	}
	g.FrameHeader = f.Header()
	switch f := f.(type) {
	case *http2.RSTStreamFrame:
		g.code = f.ErrCode
	case *http2.GoAwayFrame:
		g.code, g.last = f.ErrCode, f.LastStreamID
	case *http2.HeadersFrame:
		all, err := c.dec.DecodeFull(f.HeaderBlockFragment())
		if err != nil {
			return g, err
		}
		g.fields = map[string]string{}
		for _, h := range all {
			g.fields[h.Name] = h.Value
		}
	case *http2.DataFrame:
		g.data = string(f.Data())
	case *http2.SettingsFrame:
		g.ack = f.IsAck()
	case *http2.PingFrame:
		g.ack = f.IsAck()
	case *http2.WindowUpdateFrame:
		g.n = f.Increment
	}
	return g, nil
}

// frames gives what comes until the connection ends.
func (c *raw) frames() iter.Seq[got] {
	return func(yield func(got) bool) {
		for {
			g, err := c.next()
			if err != nil || !yield(g) {
				return
			}
		}
	}
}

// until reads frames up to one of a type, for a stream (0: any).
func (c *raw) until(t http2.FrameType, id uint32) got {
	c.t.Helper()
	g, err := c.seek(t, id)
	if err != nil {
		c.t.Fatalf("no %v of stream %d: %v", t, id, err)
	}
	return g
}

func (c *raw) seek(t http2.FrameType, id uint32) (got, error) {
	for {
		g, err := c.next()
		if err != nil {
			return g, err
		}
		if g.Type == t && (id == 0 || g.StreamID == id) {
			return g, nil
		}
		if g.Type == http2.FrameGoAway && t != http2.FrameGoAway {
			return g, errors.New("GOAWAY " + g.code.String())
		}
	}
}

// answer reads a whole answer.
func (c *raw) answer(id uint32) (fields map[string]string, body string) {
	c.t.Helper()
	h := c.until(http2.FrameHeaders, id)
	for f := h; ; {
		body += f.data
		if f.Flags.Has(http2.FlagDataEndStream) {
			return h.fields, body
		}
		f = c.until(http2.FrameData, id)
	}
}

// goAway waits for the GOAWAY that ends the connection, and for its end.
func (c *raw) goAway() got {
	c.t.Helper()
	g, err := c.seek(http2.FrameGoAway, 0)
	if err != nil {
		c.t.Fatalf("no GOAWAY: %v", err)
	}
	return g
}

// upstream is net/http's server over HTTP/2 only.
func upstream(t testing.TB, streams int, h http.Handler) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: streams}}
	s.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return ln
}
