package config

import (
	"net/netip"
	"time"
)

// Spec is a whole configuration: plain data, nothing open, nothing running. Every default is filled in and every
// name in it is known to exist. Lists keep the order of the file.
type Spec struct {
	File           string // as it was given to Load or Parse
	StateDir       string // empty: weir works without
	DefaultAuth    *Auth  // nil: not given; routes carry it already
	TrustedProxies []netip.Prefix
	Via            string // pseudonym for the Via field (RFC 9110 §7.6.3); empty: none is written
	Listeners      []Listener
	Admin          *Admin // nil: no admin listener
	Guards         Guards
	Timeouts       Timeouts
	Log            Log
	AccessLog      AccessLog
	JWT            []JWTProvider
	Roles          []Role
	Wasm           []WasmFilter
	Upstreams      []Upstream
	Routes         []Route

	// Warnings are what looks wrong and can be run, sorted by position.
	Warnings []Problem
}

// Guards bounds what one client can make the node do before anything expensive happens. 0 is no limit.
type Guards struct {
	HeaderBytes  int64
	HeaderFields int
	BodyBytes    int64
	Connections  int
	HalfClose    string // HalfCloseAbort or HalfCloseServe
	Underscores  string // UnderscoresDrop, UnderscoresRefuse or UnderscoresPass

	ConnectionsPerIP      int
	RequestsPerConnection int // then the connection ends, give or take a tenth
	// MinRate is how many bytes a second a client must send of a body or take of an answer, after ten seconds of grace, and
	// of an upload but for pauses of a minute that it has earned by being faster before;
	// 240 unless given, the figure that Kestrel has (MinDataRate).
	MinRate int64

	LenientLF    bool   // a bare LF ends a line of a head, too
	EncodedSlash string // SlashKeep or SlashRefuse: %2F and %5C in a path
	DoubleSlash  string // SlashKeep or SlashMerge: // in a path
}

// What happens to slashes in a path that are encoded, or doubled.
const (
	SlashKeep   = "keep"
	SlashRefuse = "refuse"
	SlashMerge  = "merge"
)

// What happens to an exchange whose client has closed its sending side.
const (
	HalfCloseAbort = "abort"
	HalfCloseServe = "serve"
)

// What happens to a request header with an underscore in its name.
const (
	UnderscoresDrop   = "drop"
	UnderscoresRefuse = "refuse"
	UnderscoresPass   = "pass"
)

// Timeouts are those of the client's side. 0 is none.
type Timeouts struct {
	Header   time.Duration // from the first byte of a request to the end of its header section
	Idle     time.Duration // between two requests
	BodyIdle time.Duration // between two bytes of a body
	Drain    time.Duration // that open exchanges get when weir stops
}

// Log is weir's own log, JSON to stderr.
type Log struct {
	Level string // debug, info, warn or error
}

// AccessLog has one line a request.
type AccessLog struct {
	Pos    Pos    // of the output; zero where none is given
	Output string // AccessLogStdout, AccessLogOff or a resolved path
}

// The outputs of an access log that are not files.
const (
	AccessLogStdout = "stdout"
	AccessLogOff    = "off"
)

// Upstream returns the upstream called name, or nil.
func (s *Spec) Upstream(name string) *Upstream {
	for i := range s.Upstreams {
		if s.Upstreams[i].Name == name {
			return &s.Upstreams[i]
		}
	}
	return nil
}

// WasmFilter returns the filter called name, or nil.
func (s *Spec) WasmFilter(name string) *WasmFilter {
	for i := range s.Wasm {
		if s.Wasm[i].Name == name {
			return &s.Wasm[i]
		}
	}
	return nil
}

// JWTProvider returns the provider called name, or nil.
func (s *Spec) JWTProvider(name string) *JWTProvider {
	for i := range s.JWT {
		if s.JWT[i].Name == name {
			return &s.JWT[i]
		}
	}
	return nil
}

func defaultSpec() *Spec {
	return &Spec{
		Guards: Guards{
			HeaderBytes:  32 << 10,
			HeaderFields: 100,
			Connections:  100_000,
			HalfClose:    HalfCloseAbort,
			Underscores:  UnderscoresDrop,
			MinRate:      240,
			EncodedSlash: SlashKeep,
			DoubleSlash:  SlashKeep,
		},
		Timeouts: Timeouts{
			Header:   10 * time.Second,
			Idle:     65 * time.Second,
			BodyIdle: 60 * time.Second,
			Drain:    30 * time.Second,
		},
		Log:       Log{Level: "info"},
		AccessLog: AccessLog{Output: AccessLogStdout},
	}
}

// spec reads the root of the file.
func (d *decoder) spec(v value) *Spec {
	s := defaultSpec()
	s.File = d.file
	readObject(d, v, specKeys, s)
	d.finish(v, s)
	sortProblems(d.warnings.List)
	s.Warnings = d.warnings.List
	return s
}

var specKeys = []key[Spec]{
	{"version", must, func(d *decoder, v value, _ *Spec) { d.version(v) }},
	{"state_dir", now, func(d *decoder, v value, s *Spec) { s.StateDir = d.path(v) }},
	{"default_auth", now, func(d *decoder, v value, s *Spec) { a := d.auth(v); s.DefaultAuth = &a }},
	{"trusted_proxies", now, func(d *decoder, v value, s *Spec) { s.TrustedProxies = d.prefixes(v) }},
	{"via", now, func(d *decoder, v value, s *Spec) { s.Via = d.via(v) }},
	{"listeners", must, func(d *decoder, v value, s *Spec) { s.Listeners = d.listeners(v) }},
	{"admin", now, func(d *decoder, v value, s *Spec) { a := d.admin(v); s.Admin = &a }},
	{"guards", now, func(d *decoder, v value, s *Spec) { readObject(d, v, guardKeys, &s.Guards) }},
	{"timeouts", now, func(d *decoder, v value, s *Spec) { readObject(d, v, timeoutKeys, &s.Timeouts) }},
	{"log", now, func(d *decoder, v value, s *Spec) { readObject(d, v, logKeys, &s.Log) }},
	{"access_log", now, func(d *decoder, v value, s *Spec) { readObject(d, v, accessLogKeys, &s.AccessLog) }},
	{"audit_log", later, names[Spec]("output", "redact")},
	{"tracing", later, names[Spec]("otlp", "service_name", "sample")},
	{"redis", later, names[Spec]("url", "addresses", "sentinel", "cluster", "tls", "timeout")},
	{"jwt", now, func(d *decoder, v value, s *Spec) { s.JWT = d.jwtProviders(v) }},
	{"api_keys", later, eachNames[Spec]("header", "file", "token_exchange")},
	{"basic", later, eachNames[Spec]("file")},
	{"external_auth", later, eachNames[Spec]("url", "timeout", "cache", "forward", "upstream_headers", "on_error")},
	{"oidc", later, eachNames[Spec]("issuer", "client_id", "client_secret", "redirect_path", "scopes")},
	{"roles", now, func(d *decoder, v value, s *Spec) { s.Roles = d.roles(v) }},
	{"tiers", later, nil},
	{"wasm", now, func(d *decoder, v value, s *Spec) { s.Wasm = d.wasmFilters(v) }},
	{"upstreams", now, func(d *decoder, v value, s *Spec) { s.Upstreams = d.upstreams(v) }},
	{"routes", now, func(d *decoder, v value, s *Spec) { s.Routes = d.routes(v) }},
	{"issuer", later, nil},
}

var guardKeys = []key[Guards]{
	{"header_bytes", now, func(d *decoder, v value, g *Guards) { g.HeaderBytes = d.positiveSize(v) }},
	{"header_fields", now, func(d *decoder, v value, g *Guards) { g.HeaderFields = d.positive(v) }},
	{"body_bytes", now, func(d *decoder, v value, g *Guards) { g.BodyBytes = d.size(v) }},
	{"connections", now, func(d *decoder, v value, g *Guards) { g.Connections = d.count(v) }},
	{"connections_per_ip", now, func(d *decoder, v value, g *Guards) { g.ConnectionsPerIP = d.count(v) }},
	{"requests_per_connection", now, func(d *decoder, v value, g *Guards) { g.RequestsPerConnection = d.count(v) }},
	{"min_rate", now, func(d *decoder, v value, g *Guards) { g.MinRate = d.size(v) }},
	{"half_close", now, func(d *decoder, v value, g *Guards) { g.HalfClose = d.choice(v, halfCloses) }},
	{"underscores", now, func(d *decoder, v value, g *Guards) { g.Underscores = d.choice(v, underscores) }},
	{"lenient_lf", now, func(d *decoder, v value, g *Guards) { g.LenientLF = d.boolean(v) }},
	{"encoded_slash", now, func(d *decoder, v value, g *Guards) { g.EncodedSlash = d.choice(v, encodedSlashes) }},
	{"double_slash", now, func(d *decoder, v value, g *Guards) { g.DoubleSlash = d.choice(v, doubleSlashes) }},
}

var halfCloses = []word{{HalfCloseAbort, now}, {HalfCloseServe, now}}

var underscores = []word{{UnderscoresDrop, now}, {UnderscoresRefuse, now}, {UnderscoresPass, now}}

var encodedSlashes = []word{{SlashKeep, now}, {SlashRefuse, now}}

var doubleSlashes = []word{{SlashKeep, now}, {SlashMerge, now}}

var timeoutKeys = []key[Timeouts]{
	{"header", now, func(d *decoder, v value, t *Timeouts) { t.Header = d.duration(v) }},
	{"idle", now, func(d *decoder, v value, t *Timeouts) { t.Idle = d.duration(v) }},
	{"body_idle", now, func(d *decoder, v value, t *Timeouts) { t.BodyIdle = d.duration(v) }},
	{"drain", now, func(d *decoder, v value, t *Timeouts) { t.Drain = d.duration(v) }},
}

var logKeys = []key[Log]{
	{"level", now, func(d *decoder, v value, l *Log) { l.Level = d.choice(v, logLevels) }},
}

var logLevels = []word{{"debug", now}, {"info", now}, {"warn", now}, {"error", now}}

var accessLogKeys = []key[AccessLog]{
	{"output", now, func(d *decoder, v value, a *AccessLog) { a.Pos, a.Output = v.pos, d.output(v) }},
}

func (d *decoder) version(v value) {
	before := len(d.problems.List)
	if n := d.integer(v, 0, 1<<31-1); n != 1 && len(d.problems.List) == before {
		d.fail(v.pos, "this weir reads version 1, not %d", n)
	}
}

// via reads the name that weir puts into Via: a pseudonym is one token.
func (d *decoder) via(v value) string {
	s := d.text(v)
	if s != "" && !isToken(s) {
		d.fail(v.pos, "wants one word such as edge-1, not %q", s)
		return ""
	}
	return s
}

func (d *decoder) output(v value) string {
	s := d.text(v)
	if s == AccessLogStdout || s == AccessLogOff {
		return s
	}
	return d.resolve(s)
}
