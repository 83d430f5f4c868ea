package config

import (
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// ACME gets certificates from a certificate authority (RFC 8555).
type ACME struct {
	Pos       Pos
	Email     string
	Domains   []string // at least one
	Directory string   // URL; empty: Let's Encrypt
	CA        string   // PEM of the roots that the directory's own certificate is verified against; empty: the system's
}

var acmeKeys = []key[ACME]{
	{"email", now, func(d *decoder, v value, a *ACME) { a.Email = d.email(v) }},
	{"domains", must, func(d *decoder, v value, a *ACME) { a.Domains = d.domains(v) }},
	{"directory", now, func(d *decoder, v value, a *ACME) { a.Directory = d.directory(v) }},
	{"ca", now, func(d *decoder, v value, a *ACME) { a.CA = d.path(v) }},
}

func (d *decoder) acme(v value) *ACME {
	a := &ACME{Pos: v.pos}
	readObject(d, v, acmeKeys, a)
	return a
}

// checkACME refuses ACME without a place for its account and certificates: a node that restarts would ask for new ones
// each time and soon meet the authority's limits. Told once: one key is missing.
func (d *decoder) checkACME(v value, s *Spec) {
	if v.has("state_dir") {
		return
	}
	for i := range s.Listeners {
		if t := s.Listeners[i].TLS; t != nil && t.ACME != nil {
			d.fail(t.ACME.Pos, "acme needs the key %q at the top of the file: its account and certificates are kept there", "state_dir")
			return
		}
	}
}

func (d *decoder) email(v value) string {
	s := d.text(v)
	if a, err := mail.ParseAddress(s); s != "" && (err != nil || a.Address != s) {
		d.fail(v.pos, "wants an address such as ops@example.com, not %q", s)
		return ""
	}
	return s
}

// domains are names that can be proven over HTTP and TLS, in lower case.
func (d *decoder) domains(v value) []string {
	items := d.items(v)
	if v.kind == list && len(items) == 0 {
		d.fail(v.pos, "at least one domain is needed")
	}
	var out []string
	for _, item := range items {
		s := strings.ToLower(d.text(item))
		switch {
		case s == "":
		case strings.HasPrefix(s, "*."):
			d.fail(item.pos, "a wildcard can only be proven by DNS, which is not supported; name every host, or give a certificate")
		case !isDomain(s):
			d.fail(item.pos, "wants the name of a host such as api.example.com, not %q", s)
		case slices.Contains(out, s):
			d.fail(item.pos, "%q stands in the list twice", s)
		default:
			out = append(out, s)
		}
	}
	return out
}

// isDomain is isHost without addresses, for names as certificates have them: letters, digits and inner hyphens.
func isDomain(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil || !isHost(s) {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label[0] == '-' || label[len(label)-1] == '-' || strings.Contains(label, "_") {
			return false
		}
	}
	return true
}

// directory is https only (RFC 8555 §6.1).
func (d *decoder) directory(v value) string {
	s := d.text(v)
	if u, err := url.Parse(s); s != "" && (err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil) {
		d.fail(v.pos, "wants a URL such as https://acme-v02.api.letsencrypt.org/directory, not %q", s)
		return ""
	}
	return s
}
