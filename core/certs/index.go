package certs

import (
	"crypto/rsa"
	"crypto/tls"
	"slices"
	"strings"
)

// index finds certificates by name. It is made anew when one changes.
type index struct {
	byName  map[string][]*tls.Certificate // lower-case; *.example.com stands for one label
	first   []*tls.Certificate            // the first of the list, and others of its names
	waiting map[string]bool               // names that have no certificate yet
}

func newIndex(pairs []*Pair) *index {
	x := &index{byName: map[string][]*tls.Certificate{}, waiting: map[string]bool{}}
	var first *tls.Certificate
	for _, p := range pairs {
		c := p.current.Load()
		if c == nil {
			x.waiting[p.acme] = true
			continue
		}
		if first == nil {
			first = c
		}
		for _, name := range c.Leaf.DNSNames {
			name = strings.ToLower(name)
			if !slices.Contains(x.byName[name], c) {
				x.byName[name] = append(x.byName[name], c)
			}
		}
	}
	for _, list := range x.byName {
		prefer(list)
	}
	if first != nil {
		x.first = []*tls.Certificate{first}
		for _, name := range first.Leaf.DNSNames {
			for _, c := range x.byName[strings.ToLower(name)] {
				if !slices.Contains(x.first, c) {
					x.first = append(x.first, c)
				}
			}
		}
		prefer(x.first)
	}
	return x
}

// prefer puts RSA behind the others, which cost a tenth of it to sign with: every client takes RSA, so the order of the
// file would decide for it too often.
func prefer(list []*tls.Certificate) {
	slices.SortStableFunc(list, func(a, b *tls.Certificate) int { return isRSA(a) - isRSA(b) })
}

func isRSA(c *tls.Certificate) int {
	if _, ok := c.Leaf.PublicKey.(*rsa.PublicKey); ok {
		return 1
	}
	return 0
}

// find chooses for a client: by its exact name, by a wildcard in place of the first label, else the first certificate of
// the list. nil is none: the handshake ends with unrecognized_name.
func (x *index) find(hello *tls.ClientHelloInfo) *tls.Certificate {
	name := strings.ToLower(hello.ServerName)
	list := x.byName[name]
	if list == nil {
		if x.waiting[name] {
			return nil // the certificate of another name would not help anybody
		}
		if dot := strings.IndexByte(name, '.'); dot > 0 {
			list = x.byName["*"+name[dot:]]
		}
	}
	if list == nil {
		list = x.first
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	nameless := *hello
	nameless.ServerName = "" // has been matched already, or can't be
	for _, c := range list {
		if nameless.SupportsCertificate(c) == nil {
			return c
		}
	}
	return list[0]
}
