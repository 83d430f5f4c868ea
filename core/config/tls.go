package config

import "time"

// ListenerTLS is the server's side of TLS.
type ListenerTLS struct {
	Pos          Pos
	Certificates []Certificate // at least one, unless there is ACME
	MinVersion   string        // "1.2" or "1.3"
	ClientAuth   *ClientAuth   // nil: clients are not asked for a certificate
	TicketKeys   *TicketKeys   // nil: keys of the process, rotated by the library
	ACME         *ACME         // nil: none
}

// How a listener asks clients for a certificate.
const (
	ClientAuthNone    = "none"
	ClientAuthRequest = "request" // one that is sent must be valid
	ClientAuthRequire = "require"
)

// ClientAuth asks clients for certificates (mutual TLS).
type ClientAuth struct {
	Pos  Pos
	CA   string // PEM of the roots that clients' certificates are verified against
	Mode string // ClientAuthNone, ClientAuthRequest or ClientAuthRequire
}

// TicketKeys are keys of TLS session tickets that several nodes share by a file.
type TicketKeys struct {
	Pos    Pos
	File   string
	Rotate time.Duration // a new key is made so often, by whichever node is first; 0: the file is only read
}

// Certificate is a pair of PEM files. Cert holds the chain, leaf first.
type Certificate struct {
	Pos  Pos
	Cert string
	Key  string
}

var listenerTLSKeys = []key[ListenerTLS]{
	{"certificates", now, func(d *decoder, v value, t *ListenerTLS) { t.Certificates = d.certificates(v) }},
	{"min_version", now, func(d *decoder, v value, t *ListenerTLS) { t.MinVersion = d.numberChoice(v, float, tlsVersions) }},
	{"client_auth", now, func(d *decoder, v value, t *ListenerTLS) { t.ClientAuth = d.clientAuth(v) }},
	{"ticket_keys", now, func(d *decoder, v value, t *ListenerTLS) { t.TicketKeys = d.ticketKeys(v) }},
	{"acme", now, func(d *decoder, v value, t *ListenerTLS) { t.ACME = d.acme(v) }},
}

var certificateKeys = []key[Certificate]{
	{"cert", must, func(d *decoder, v value, c *Certificate) { c.Cert = d.path(v) }},
	{"key", must, func(d *decoder, v value, c *Certificate) { c.Key = d.path(v) }},
}

var tlsVersions = []word{{"1.2", now}, {"1.3", now}}

func (d *decoder) listenerTLS(v value) *ListenerTLS {
	t := &ListenerTLS{Pos: v.pos, MinVersion: "1.2"}
	readObject(d, v, listenerTLSKeys, t)
	if v.kind == object && !v.has("certificates") && !v.has("acme") {
		d.fail(v.pos, "one of certificates and acme is needed")
	}
	return t
}

func (d *decoder) certificates(v value) []Certificate {
	items := d.items(v)
	if v.kind == list && len(items) == 0 {
		d.fail(v.pos, "at least one certificate is needed")
	}
	out := make([]Certificate, len(items))
	for i, item := range items {
		out[i].Pos = item.pos
		readObject(d, item, certificateKeys, &out[i])
	}
	return out
}

var clientAuthKeys = []key[ClientAuth]{
	{"ca", now, func(d *decoder, v value, c *ClientAuth) { c.CA = d.path(v) }},
	{"mode", now, func(d *decoder, v value, c *ClientAuth) { c.Mode = d.choice(v, clientAuthModes) }},
}

var clientAuthModes = []word{{ClientAuthNone, now}, {ClientAuthRequest, now}, {ClientAuthRequire, now}}

func (d *decoder) clientAuth(v value) *ClientAuth {
	c := &ClientAuth{Pos: v.pos, Mode: ClientAuthRequire}
	readObject(d, v, clientAuthKeys, c)
	if v.kind == object && !v.has("ca") && c.Mode != ClientAuthNone {
		d.fail(v.pos, "the key %q is missing: without it no certificate of a client could be verified", "ca")
	}
	return c
}

var ticketKeysKeys = []key[TicketKeys]{
	{"file", must, func(d *decoder, v value, t *TicketKeys) { t.File = d.path(v) }},
	{"rotate", now, func(d *decoder, v value, t *TicketKeys) { t.Rotate = d.rotation(v) }},
}

func (d *decoder) ticketKeys(v value) *TicketKeys {
	t := &TicketKeys{Pos: v.pos}
	readObject(d, v, ticketKeysKeys, t)
	return t
}

// rotation is at least a minute: keys that change faster than nodes look at the file are keys that nobody shares.
func (d *decoder) rotation(v value) time.Duration {
	t := d.duration(v)
	if t > 0 && t < time.Minute {
		d.fail(v.pos, "wants at least 1m, or 0 for a file that is only read")
	}
	return t
}
