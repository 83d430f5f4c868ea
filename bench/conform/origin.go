package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// origin is the upstream of every proxy under test. It records what reaches it, byte for byte, and reads it in the canonical
// form only. Every request is answered with its own meaning as the body, so that a client can tell whose answer it got.
type origin struct {
	ln net.Listener
	wg sync.WaitGroup

	mu     sync.Mutex
	conns  map[*visit]bool
	seen   []arrival
	script map[string]*answer // by target; others get the plain answer
}

// arrival is a message, or what is not one, that reached the origin.
type arrival struct {
	message
	state state
	raw   string
	gone  bool // its connection has ended
}

// visit is one connection of a proxy.
type visit struct {
	net.Conn
	buf    []byte // not read as a message yet
	asked  bool   // 100 Continue has been sent for what is in buf
	tunnel bool
	late   string // to be sent unasked
}

func openOrigin() (*origin, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &origin{ln: ln, conns: map[*visit]bool{}, script: map[string]*answer{}}
	o.wg.Go(o.accept)
	return o, nil
}

func (o *origin) address() string { return o.ln.Addr().String() }

func (o *origin) close() {
	_ = o.ln.Close()
	o.mu.Lock()
	for v := range o.conns {
		_ = v.Close()
	}
	o.mu.Unlock()
	o.wg.Wait()
}

func (o *origin) accept() {
	for {
		nc, err := o.ln.Accept()
		if err != nil {
			return
		}
		v := &visit{Conn: nc}
		o.mu.Lock()
		o.conns[v] = true
		o.mu.Unlock()
		o.wg.Go(func() { o.serve(v) })
	}
}

func (o *origin) serve(v *visit) {
	defer func() {
		o.mu.Lock()
		delete(o.conns, v)
		if len(v.buf) > 0 {
			m, _, s := readRequest(v.buf)
			o.seen = append(o.seen, arrival{message: m, state: s, raw: string(v.buf), gone: true})
		}
		o.mu.Unlock()
		_ = v.Close()
	}()
	piece := make([]byte, 64<<10)
	for {
		n, err := v.Read(piece)
		o.mu.Lock()
		v.buf = append(v.buf, piece[:n]...)
		o.mu.Unlock()
		if !o.read(v) || err != nil {
			return
		}
	}
}

// read answers what is whole in v.buf, and reports whether the connection goes on.
func (o *origin) read(v *visit) bool {
	for {
		m, s, a := o.next(v)
		switch {
		case s == partial:
			return true
		case s == broken:
			_, _ = io.WriteString(v, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return false
		case !o.answer(v, &m, a):
			return false
		}
	}
}

// next takes the next message off v.buf and records it, with the script that answers it.
func (o *origin) next(v *visit) (m message, s state, a *answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(v.buf)
	switch {
	case n == 0:
		return m, partial, nil
	case v.tunnel:
		m, s = message{method: "TUNNEL", target: string(v.buf)}, whole
	default:
		if m, n, s = readRequest(v.buf); s == broken {
			n = len(v.buf)
		}
	}
	if s == partial {
		if m.get("Expect") != "" && !v.asked {
			v.asked = true
			_, _ = io.WriteString(v, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		return m, partial, nil
	}
	o.seen = append(o.seen, arrival{message: m, state: s, raw: string(v.buf[:n])})
	v.buf, v.asked = v.buf[n:], false
	return m, s, o.script[m.target]
}

func (o *origin) answer(v *visit, m *message, a *answer) bool {
	if m.method == "TUNNEL" {
		_, err := io.WriteString(v, m.target)
		return err == nil
	}
	if a != nil {
		o.mu.Lock()
		v.late = a.late
		o.mu.Unlock()
		return a.send(v)
	}
	if m.target == "/tunnel" && strings.EqualFold(m.get("Upgrade"), "websocket") {
		o.mu.Lock()
		v.tunnel = true
		o.mu.Unlock()
		_, err := io.WriteString(v, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		return err == nil
	}
	body := m.String()
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len(body))
	if m.method == "HEAD" {
		body = ""
	}
	_, err := io.WriteString(v, head+body)
	return err == nil && !strings.EqualFold(m.get("Connection"), "close")
}

// plan makes a what is answered to requests for the target; nil is the plain answer.
func (o *origin) plan(target string, a *answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.script[target] = a
}

// take gives what has arrived since the last call, with what lies unfinished on open connections.
func (o *origin) take() []arrival {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.seen
	o.seen = nil
	for v := range o.conns {
		if len(v.buf) > 0 {
			m, _, s := readRequest(v.buf)
			all = append(all, arrival{message: m, state: s, raw: string(v.buf)})
		}
	}
	return all
}

// surprise sends what scripts have left for later, over the connections that they were played on.
func (o *origin) surprise() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for v := range o.conns {
		if v.late != "" {
			_, _ = io.WriteString(v, v.late)
			v.late = ""
		}
	}
}

// cleanse ends the connections on which a message lies unfinished: they must not weigh on the next case.
func (o *origin) cleanse() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for v := range o.conns {
		if len(v.buf) > 0 || v.tunnel {
			v.buf = nil
			_ = v.Close()
		}
	}
}
