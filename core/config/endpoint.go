package config

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Endpoint is one address of an upstream.
type Endpoint struct {
	Pos     Pos
	Scheme  string // http or https
	Address string // host:port, always with a port; the name alone where SRV is set
	Weight  int    // 1 unless given
	SRV     bool   // Address is the name of SRV records (RFC 2782) that list the endpoints
}

// Host returns the name or address of e without its port and brackets.
func (e *Endpoint) Host() string {
	host, _, _ := net.SplitHostPort(e.Address)
	return host
}

var endpointKeys = []key[Endpoint]{
	{"url", must, func(d *decoder, v value, e *Endpoint) { d.endpointURL(v, e) }},
	{"weight", now, func(d *decoder, v value, e *Endpoint) { e.Weight = int(d.integer(v, 1, 1000)) }},
}

// endpointFileKeys is the form {file: path}.
var endpointFileKeys = []key[string]{
	{"file", must, func(d *decoder, v value, path *string) { *path = d.path(v) }},
}

// defaultPorts are those of the schemes there are; srv+ before one has the addresses and ports from DNS.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// endpoints reads the list, or the path of the file that it is in: {file: path} alone or as the only item.
func (d *decoder) endpoints(v value) (inline []Endpoint, file string) {
	if v.kind == object && v.has("file") {
		return nil, d.endpointFile(v)
	}
	items := d.items(v)
	if len(items) == 1 && items[0].kind == object && items[0].has("file") {
		return nil, d.endpointFile(items[0])
	}
	if v.kind == list && len(items) == 0 {
		d.fail(v.pos, "at least one endpoint is needed")
	}
	return d.endpointList(items), ""
}

func (d *decoder) endpointFile(v value) (path string) {
	readObject(d, v, endpointFileKeys, &path)
	return path
}

func (d *decoder) endpointList(items []value) []Endpoint {
	out := make([]Endpoint, len(items))
	for i, item := range items {
		e := &out[i]
		*e = Endpoint{Pos: item.pos, Weight: 1}
		switch {
		case item.kind != object:
			d.endpointURL(item, e)
		case item.has("file"):
			d.fail(item.pos, "a file is the only item of its list: it lists all endpoints")
		default:
			readObject(d, item, endpointKeys, e)
			if e.SRV && item.has("weight") {
				d.fail(d.at(item, "weight"), "the weights of SRV records stand in the records")
			}
		}
	}
	return out
}

func (d *decoder) endpointURL(v value, e *Endpoint) {
	s := d.text(v)
	if s == "" {
		return
	}
	scheme, _, ok := strings.Cut(s, "://")
	if !ok {
		d.fail(v.pos, "wants a URL such as http://10.0.0.1:9000, not %q", s)
		return
	}
	scheme, srv := strings.CutPrefix(strings.ToLower(scheme), "srv+")
	u, err := url.Parse(s)
	if err != nil || defaultPorts[scheme] == "" || u.Hostname() == "" || strings.ContainsAny(u.Hostname(), "%* ") {
		d.fail(v.pos, "wants a URL such as http://10.0.0.1:9000, https://example.com or srv+http://_api._tcp.example.com, not %q", s)
		return
	}
	if u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		d.fail(v.pos, "an endpoint is a scheme, a host and a port; a path goes into rewrite, credentials into headers")
		return
	}
	e.Scheme, e.SRV = scheme, srv
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if srv {
		if _, err := netip.ParseAddr(host); err == nil || strings.Contains(u.Host, ":") {
			d.fail(v.pos, "wants the name of SRV records alone, which say addresses and ports: srv+http://_api._tcp.example.com")
			return
		}
		e.Address = host
		return
	}
	if port == "" {
		port = defaultPorts[scheme]
	}
	if !isPort(port) || port == "0" {
		d.fail(v.pos, "the port %q is not one", port)
		return
	}
	e.Address = net.JoinHostPort(host, port)
}
