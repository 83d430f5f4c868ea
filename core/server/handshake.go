package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/weirproxy/weir/core/certs"
	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/identity"
	"github.com/weirproxy/weir/core/netio"
)

var errChallenge = errors.New("a challenge, not a client")

// handshakeTime is how long a TLS handshake may take.
const handshakeTime = 5 * time.Second

// announced reports whether the connection begins with a header of the PROXY protocol.
func (c *conn) announced() bool {
	from := c.from.spec.Load().ProxyFrom
	return from != nil && from.Contains(c.peer.Addr())
}

var (
	errTooMany = errors.New("too many connections of one address")
	errPanic   = errors.New("panic")
)

// handshake reads what stands before the first request: the header of the PROXY protocol from those who send one, and TLS
// where the listener asks for it. A panic in there, most of which is others' code, costs the connection and nobody else.
func (c *conn) handshake() (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.server.log.Error().Interface("panic", r).Bytes("stack", debug.Stack()).Msg("panic in a handshake")
			err = errPanic
		}
	}()
	if c.announced() {
		client, local, err := readProxyHeader(c.nc, c.peer, c.local)
		if err != nil {
			return err
		}
		if client != c.peer && !c.counts(client.Addr(), c.server.plan.Load().PerIP) {
			return errTooMany
		}
		c.peer, c.local = client, local
		c.text = []byte(client.Addr().String())
	}
	config := c.from.spec.Load().TLS
	if config == nil {
		return nil
	}
	t := tls.Server(c.nc, config)
	_ = t.SetDeadline(time.Now().Add(handshakeTime))
	if c.leaving() {
		c.nc.Hasten(freshGrace)
	}
	if err := t.Handshake(); err != nil {
		c.failed(err)
		return err
	}
	_ = t.SetDeadline(time.Time{})
	state := t.ConnectionState()
	if state.NegotiatedProtocol == certs.Challenge {
		_ = t.Close() // the handshake was all that the authority wanted
		return errChallenge
	}
	c.agreed = state.NegotiatedProtocol == "h2"
	c.certificate = identity.FromTLS(&state)
	c.agreement = agreementOf(&state)
	c.mu.Lock()
	c.nc, c.secure = netio.New(t), true
	c.mu.Unlock()
	return nil
}

// agreementOf is what filters are told of a handshake. It is made once a connection.
func agreementOf(state *tls.ConnectionState) *exchange.TLS {
	s := &exchange.TLS{
		Version: state.Version, ServerName: state.ServerName, Protocol: state.NegotiatedProtocol, Verified: len(state.VerifiedChains) > 0,
	}
	if len(state.PeerCertificates) > 0 {
		s.Peer = state.PeerCertificates[0]
		s.Subject = s.Peer.Subject.String()
		if len(s.Peer.URIs) > 0 {
			s.URI = s.Peer.URIs[0].String()
		}
	}
	return s
}

// failed counts a handshake that failed, and tells a client that speaks plain HTTP what is wrong.
func (c *conn) failed(err error) {
	c.server.handshakes.Add(1)
	c.server.log.Debug().Err(err).Stringer("peer", c.peer).Str("listener", c.from.spec.Load().Address).Msg("TLS handshake failed")
	var record tls.RecordHeaderError
	if !errors.As(err, &record) || !plainHTTP(record.RecordHeader[:]) {
		return
	}
	_ = c.nc.SetDeadline(time.Time{})
	c.nc.WriteBy(clock.Nano(), time.Second)
	if _, err := c.nc.Write(plainAnswer); err == nil {
		c.linger()
	}
}

// plainHTTP reports whether the bytes in the place of a TLS record begin a request.
func plainHTTP(b []byte) bool {
	for _, method := range [...]string{"GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE ", "OPTIONS ", "PRI * "} {
		if bytes.HasPrefix([]byte(method), b) || bytes.HasPrefix(b, []byte(method)) {
			return true
		}
	}
	return false
}

const plainText = "This port speaks HTTPS, and the request came without TLS.\n"

var plainAnswer = []byte("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: " +
	strconv.Itoa(len(plainText)) + "\r\nConnection: close\r\n\r\n" + plainText)
