package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Route takes the requests that match and says what happens to them. Exactly one of Upstream, Split, Respond and
// Redirect is set.
type Route struct {
	Pos         Pos
	Name        string // route-N, counted from 1, when it was given none
	Match       Match
	Auth        *Auth // the default where the route gives none; nil when there is neither: everybody is let in
	Require     *Require
	IP          IPRules
	Limits      []Limit
	Wasm        []WasmUse
	Headers     Headers
	StripPrefix string   // at a segment's border: /v1 is cut off /v1 and /v1/x, not off /v12; empty: nothing
	Rewrite     *Rewrite // nil: the path stays
	Host        string   // HostPreserve, HostUpstream or the name to send
	Timeout     time.Duration
	BodyBytes   int64 // that of the guards where the route gives none; 0: no limit
	CORS        *CORS // nil: none
	Upstream    string
	Split       []Share // instead of Upstream
	Mirror      *Mirror // nil: none
	Respond     *Respond
	Redirect    *Redirect
	Metadata    string // a JSON object for filters to read; empty: none
}

// Which Host an upstream is sent, when it is not a fixed one.
const (
	HostPreserve = "preserve" // the client's
	HostUpstream = "upstream" // the endpoint's
)

// Require is what a caller's identity must have, all of it.
type Require struct {
	Pos         Pos
	Scopes      []string    // all of these
	Roles       []string    // one of these
	Permissions []string    // all of these, from the roles' permissions
	Claims      []ClaimRule // all of these
}

// IPRules are about the client's address. Deny wins; when Allow has entries, the others are denied.
type IPRules struct {
	Allow []netip.Prefix
	Deny  []netip.Prefix
}

// Rewrite replaces the path, not the query.
type Rewrite struct {
	Pos  Pos
	Path string
}

// Respond is a fixed answer.
type Respond struct {
	Pos     Pos
	Status  int
	Body    string
	Headers []Header
}

// Redirect sends the client elsewhere.
type Redirect struct {
	Pos    Pos
	To     string // a path or a URL
	Status int    // 308 unless given
}

func (d *decoder) routes(v value) []Route {
	items := d.items(v)
	out := make([]Route, len(items))
	for i, item := range items {
		r := &out[i]
		*r = Route{Pos: item.pos, Match: Match{Pos: item.pos}, Host: HostPreserve, BodyBytes: -1}
		readObject(d, item, routeKeys, r)
		if r.Name == "" {
			r.Name = "route-" + strconv.Itoa(i+1)
		}
		if item.kind == object {
			d.checkAction(item)
		}
	}
	return out
}

var routeKeys = []key[Route]{
	{"name", now, func(d *decoder, v value, r *Route) { r.Name = d.text(v) }},
	{"match", now, func(d *decoder, v value, r *Route) { r.Match = d.match(v) }},
	{"auth", now, func(d *decoder, v value, r *Route) { a := d.auth(v); r.Auth = &a }},
	{"require", now, func(d *decoder, v value, r *Route) { r.Require = d.require(v) }},
	{"cors", now, func(d *decoder, v value, r *Route) { r.CORS = d.cors(v) }},
	{"ip", now, func(d *decoder, v value, r *Route) { readObject(d, v, ipKeys, &r.IP) }},
	{"limits", now, func(d *decoder, v value, r *Route) { r.Limits = d.limits(v) }},
	{"token_budget", later, names[Route]("name", "key", "tokens", "usage", "store")},
	{"wasm", now, func(d *decoder, v value, r *Route) { r.Wasm = d.wasmUses(v) }},
	{"headers", now, func(d *decoder, v value, r *Route) { readObject(d, v, headersKeys, &r.Headers) }},
	{"deprecation", later, names[Route]("deprecated", "sunset", "link", "after_sunset")},
	{"strip_prefix", now, func(d *decoder, v value, r *Route) { r.StripPrefix = d.prefixToStrip(v) }},
	{"rewrite", now, func(d *decoder, v value, r *Route) { r.Rewrite = d.rewrite(v) }},
	{"host", now, func(d *decoder, v value, r *Route) { r.Host = d.hostToSend(v) }},
	{"timeout", now, func(d *decoder, v value, r *Route) { r.Timeout = d.duration(v) }},
	{"body_bytes", now, func(d *decoder, v value, r *Route) { r.BodyBytes = d.size(v) }},
	{"upstream", now, func(d *decoder, v value, r *Route) { r.Upstream = d.mention(v, upstreams) }},
	{"split", now, func(d *decoder, v value, r *Route) { r.Split = d.split(v) }},
	{"metadata", now, func(d *decoder, v value, r *Route) { r.Metadata = d.metadata(v) }},
	{"mirror", now, func(d *decoder, v value, r *Route) { r.Mirror = d.mirror(v) }},
	{"respond", now, func(d *decoder, v value, r *Route) { r.Respond = d.respond(v) }},
	{"redirect", now, func(d *decoder, v value, r *Route) { r.Redirect = d.redirect(v) }},
}

var requireKeys = []key[Require]{
	{"scopes", now, func(d *decoder, v value, r *Require) { r.Scopes = d.someTexts(v) }},
	{"roles", now, func(d *decoder, v value, r *Require) { r.Roles = d.someTexts(v) }},
	{"permissions", now, func(d *decoder, v value, r *Require) { r.Permissions = d.someTexts(v) }},
	{"claims", now, func(d *decoder, v value, r *Require) { r.Claims = d.claims(v, true) }},
}

var ipKeys = []key[IPRules]{
	{"allow", now, func(d *decoder, v value, r *IPRules) { r.Allow = d.allowed(v) }},
	{"deny", now, func(d *decoder, v value, r *IPRules) { r.Deny = d.prefixes(v) }},
}

var rewriteKeys = []key[Rewrite]{
	{"path", must, func(d *decoder, v value, r *Rewrite) { r.Path = d.absolutePath(v) }},
}

var respondKeys = []key[Respond]{
	{"status", now, func(d *decoder, v value, r *Respond) { r.Status = int(d.integer(v, 200, 599)) }},
	{"body", now, func(d *decoder, v value, r *Respond) { r.Body = d.optionalText(v) }},
	{"headers", now, func(d *decoder, v value, r *Respond) { r.Headers = d.fixedHeaders(v) }},
}

var redirectKeys = []key[Redirect]{
	{"to", must, func(d *decoder, v value, r *Redirect) { r.To = d.redirectTo(v) }},
	{"status", now, func(d *decoder, v value, r *Redirect) { r.Status = d.redirectStatus(v) }},
}

// actions are the keys of a route of which exactly one is needed.
var actions = []string{"upstream", "split", "respond", "redirect"}

func (d *decoder) checkAction(v value) {
	var given []string
	for _, name := range actions {
		if v.has(name) {
			given = append(given, name)
		}
	}
	switch {
	case len(given) == 0:
		d.fail(v.pos, "one of upstream, split, respond and redirect is needed")
	case len(given) > 1:
		d.fail(v.pos, "only one of upstream, split, respond and redirect is possible, not %s and %s", given[0], given[1])
	}
	if v.has("mirror") && !v.has("upstream") && !v.has("split") {
		d.fail(d.at(v, "mirror"), "mirror goes with upstream or split: there is nothing to copy elsewhere")
	}
	if v.has("strip_prefix") && v.has("rewrite") {
		d.fail(v.pos, "only one of strip_prefix and rewrite is possible")
	}
}

func (d *decoder) require(v value) *Require {
	r := &Require{Pos: v.pos}
	readObject(d, v, requireKeys, r)
	return r
}

func (d *decoder) rewrite(v value) *Rewrite {
	r := &Rewrite{Pos: v.pos}
	readObject(d, v, rewriteKeys, r)
	return r
}

func (d *decoder) respond(v value) *Respond {
	r := &Respond{Pos: v.pos, Status: 200}
	readObject(d, v, respondKeys, r)
	return r
}

func (d *decoder) redirect(v value) *Redirect {
	r := &Redirect{Pos: v.pos, Status: 308}
	readObject(d, v, redirectKeys, r)
	return r
}

func (d *decoder) redirectTo(v value) string {
	s := d.text(v)
	d.checkHeaderValue(v.pos, s)
	if s != "" && s[0] != '/' && !strings.HasPrefix(s, "http://") && !strings.HasPrefix(s, "https://") {
		d.fail(v.pos, "wants a path or a URL such as https://example.com/new, not %q", s)
	}
	return s
}

func (d *decoder) redirectStatus(v value) int {
	n := int(d.integer(v, 300, 399))
	switch n {
	case 0, 301, 302, 303, 307, 308:
	default:
		d.fail(v.pos, "wants 301, 302, 303, 307 or 308, not %d", n)
	}
	return n
}

func (d *decoder) hostToSend(v value) string {
	s := strings.ToLower(d.text(v))
	host := s
	if _, port, err := net.SplitHostPort(s); err == nil && isPort(port) {
		host = strings.TrimSuffix(s, ":"+port)
	}
	if s != "" && !isHost(host) {
		d.fail(v.pos, "wants preserve, upstream or a host such as example.com, not %q", s)
	}
	return s
}

// prefixToStrip leaves the last / off: what is stripped ends at a segment's border anyway.
func (d *decoder) prefixToStrip(v value) string {
	s := d.absolutePath(v)
	if strings.Trim(s, "/") == "" && s != "" {
		d.fail(v.pos, "%q strips nothing", s)
	}
	return strings.TrimRight(s, "/")
}
