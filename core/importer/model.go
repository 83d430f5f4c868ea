package importer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/exchange"
)

// model is the configuration that comes out.
type model struct {
	head      []string // comments
	listeners []*listener
	admin     string
	filters   []*wasmFilter
	upstreams []*upstream
	routes    []*route
}

type listener struct {
	pos      config.Pos
	address  string
	tls      bool
	certs    [][2]string // certificate and key
	comments []string
}

type wasmFilter struct {
	pos                 config.Pos
	name                string
	file, url, sha256   string
	config, vmConfig    payload
	vmID, rootID        string
	env                 [][2]string // values may hold variables
	open, stop          bool
	tags                [][2]string
	comments            []string // after its keys
	fileNote, openGuess string   // comments on their lines
	slot                string   // where the source has it, on routes of its own
}

type upstream struct {
	pos       config.Pos
	name      string
	endpoints []endpoint
	keys      []string // further ones, as lines of YAML
	metadata  config.Foreign
	comments  []string
}

type endpoint struct {
	url    string
	weight int64 // 0: none given
}

type route struct {
	pos      config.Pos
	name     string
	hosts    []string
	path     string
	methods  []string
	headers  [][2]string
	guarded  bool // something that was not translated decided who was let in
	uses     []use
	keys     []string // further ones, as lines of YAML
	target   string   // the key that says where it goes, as a line of YAML
	needs    []string // upstreams that target names
	metadata config.Foreign
	comments []string
}

// use is a filter on a route.
type use struct {
	f    *wasmFilter
	slot string // "": the default
}

// lines is YAML being written.
type lines struct{ b strings.Builder }

func (l *lines) add(indent int, format string, args ...any) {
	l.b.WriteString(strings.Repeat("  ", indent))
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	l.b.WriteString(format)
	l.b.WriteByte('\n')
}

func (l *lines) comments(indent int, all []string) {
	for _, c := range all {
		l.add(indent, "%s", "# "+oneLine(c))
	}
}

// yaml writes the whole.
func (m *model) yaml() []byte {
	l := &lines{}
	l.comments(0, m.head)
	l.add(0, "version: 1")
	if slices.ContainsFunc(m.filters, func(f *wasmFilter) bool { return strings.HasPrefix(f.url, "oci://") }) {
		l.add(0, "# state_dir: /var/lib/weir # where weir filter pull puts the modules of oci:// addresses")
	}
	l.add(0, "listeners:")
	for _, x := range m.listeners {
		x.write(l)
	}
	if m.admin != "" {
		l.add(0, "admin: {address: %s}", quote(m.admin))
	}
	if len(m.filters) > 0 {
		l.add(0, "wasm:")
		for _, f := range m.filters {
			f.write(l)
		}
	}
	if len(m.upstreams) > 0 {
		l.add(0, "upstreams:")
		for _, u := range m.upstreams {
			u.write(l)
		}
	}
	if len(m.routes) > 0 {
		l.add(0, "routes:")
		for _, r := range m.routes {
			r.write(l)
		}
	}
	return []byte(l.b.String())
}

func (x *listener) write(l *lines) {
	l.comments(1, x.comments)
	if len(x.certs) == 0 {
		l.add(1, "- address: %s", quote(x.address))
		return
	}
	l.add(1, "- address: %s", quote(x.address))
	l.add(2, "tls:")
	l.add(3, "certificates:")
	for _, c := range x.certs {
		l.add(4, "- {cert: %s, key: %s}", quote(c[0]), quote(c[1]))
	}
}

func (f *wasmFilter) write(l *lines) {
	l.add(1, "%s:", quote(f.name))
	comment := func(c string) string {
		if c == "" {
			return ""
		}
		return " # " + oneLine(c)
	}
	if f.file != "" {
		l.add(2, "file: %s%s", quote(f.file), comment(f.fileNote))
	}
	if f.url != "" {
		l.add(2, "url: %s%s", quote(f.url), comment(f.fileNote))
	}
	if f.sha256 != "" {
		l.add(2, "sha256: %q", f.sha256)
	}
	for _, k := range []struct{ name, value string }{{"vm_id", f.vmID}, {"root_id", f.rootID}} {
		if k.value != "" {
			l.add(2, "%s: %s", k.name, quote(k.value))
		}
	}
	f.vmConfig.write(l, "vm_config")
	f.config.write(l, "config")
	if len(f.env) > 0 {
		l.add(2, "env:")
		for _, e := range f.env {
			l.add(3, "%s: %s", scalar(e[0]), scalar(e[1]))
		}
	}
	if f.open {
		l.add(2, "on_error: fail_open%s", comment(f.openGuess))
	} else {
		l.add(2, "on_error: fail_closed%s", comment(f.openGuess))
	}
	if f.stop {
		l.add(2, "stop_iteration: true")
	}
	if len(f.tags) > 0 {
		l.add(2, "tags:")
		for _, t := range f.tags {
			l.add(3, "%s: %s", scalar(t[0]), quote(t[1]))
		}
	}
	l.comments(2, f.comments)
}

func (p payload) write(l *lines, key string) {
	switch p.kind {
	case textPayload:
		if !blockable(p.text) {
			l.add(2, "%s: %s", key, quote(p.text))
			return
		}
		mark := "|-"
		if strings.HasSuffix(p.text, "\n") {
			mark = "|"
		}
		l.add(2, "%s: %s", key, mark)
		for line := range strings.SplitSeq(strings.TrimSuffix(strings.ReplaceAll(p.text, "$", "$$"), "\n"), "\n") {
			if line == "" {
				l.add(0, "")
				continue
			}
			l.add(3, "%s", line)
		}
	case treePayload:
		if p.v.Kind() == config.ForeignList || len(p.v.Fields()) == 0 {
			l.add(2, "%s: %s", key, flow(p.v))
			return
		}
		l.add(2, "%s:", key)
		tree(l, 3, p.v)
	}
}

// blockable says whether a text can be written line by line: it has several, and nothing in it that a block would change.
func blockable(s string) bool {
	if !strings.Contains(strings.TrimSuffix(s, "\n"), "\n") || strings.HasSuffix(s, "\n\n") || strings.ContainsAny(s[:1], " \t\n") {
		return false
	}
	for _, c := range s {
		if c < ' ' && c != '\n' || c == 0x7f || c == 0x85 || c == 0xa0 || c == 0x2028 || c == 0x2029 || c == 0xfeff {
			return false
		}
	}
	for line := range strings.SplitSeq(s, "\n") {
		if strings.TrimRight(line, " ") != line {
			return false
		}
	}
	return true
}

// tree writes the keys of an object, lists and what is empty on one line.
func tree(l *lines, indent int, v config.Foreign) {
	for _, f := range v.Fields() {
		if f.Value.Kind() == config.ForeignObject && len(f.Value.Fields()) > 0 && indent < 40 {
			l.add(indent, "%s:", scalar(f.Name))
			tree(l, indent+1, f.Value)
			continue
		}
		l.add(indent, "%s: %s", scalar(f.Name), flow(f.Value))
	}
}

func (u *upstream) write(l *lines) {
	l.comments(1, u.comments)
	l.add(1, "%s:", quote(u.name))
	l.add(2, "endpoints:")
	for _, e := range u.endpoints {
		if e.weight > 0 {
			l.add(3, "- {url: %s, weight: %d}", quote(e.url), e.weight)
			continue
		}
		l.add(3, "- %s", quote(e.url))
	}
	for _, k := range u.keys {
		l.add(2, "%s", k)
	}
	if u.metadata.Kind() == config.ForeignObject {
		l.add(2, "metadata: %s", flow(u.metadata))
	}
}

func (r *route) write(l *lines) {
	l.comments(1, r.comments)
	l.add(1, "- name: %s", quote(r.name))
	var match []string
	switch len(r.hosts) {
	case 0:
	case 1:
		match = append(match, "host: "+quote(r.hosts[0]))
	default:
		match = append(match, "host: "+flowList(r.hosts))
	}
	if r.path != "" {
		match = append(match, "path: "+quote(r.path))
	}
	if len(r.methods) > 0 {
		match = append(match, "methods: "+flowList(r.methods))
	}
	if len(r.headers) > 0 {
		var all []string
		for _, h := range r.headers {
			all = append(all, scalar(h[0])+": "+quote(h[1]))
		}
		match = append(match, "headers: {"+strings.Join(all, ", ")+"}")
	}
	l.add(2, "match: {%s}", strings.Join(match, ", "))
	if r.guarded {
		l.add(2, "# auth: what is not translated may have decided who is let in; weir check warns until it is said here")
	} else {
		l.add(2, "auth: none")
	}
	if len(r.uses) > 0 {
		var all []string
		for _, u := range r.uses {
			if u.slot == "" {
				all = append(all, quote(u.f.name))
				continue
			}
			all = append(all, "{filter: "+quote(u.f.name)+", slot: "+u.slot+"}")
		}
		l.add(2, "wasm: [%s]", strings.Join(all, ", "))
	}
	for _, k := range r.keys {
		l.add(2, "%s", k)
	}
	if r.metadata.Kind() == config.ForeignObject {
		l.add(2, "metadata: %s", flow(r.metadata))
	}
	l.add(2, "%s", r.target)
}

// accept parses m and tells of every problem what refuses it; true if there is none. A piece that was not accepted is not
// taken.
func (r *run) accept(pos config.Pos, what string, m model) (*config.Spec, bool) {
	if len(m.listeners) == 0 {
		m.listeners = []*listener{{address: ":1"}}
	}
	spec, err := parse(m.yaml())
	if err == nil {
		return spec, true
	}
	problems, ok := err.(*config.Problems)
	if !ok {
		r.lost(pos, "%s: %v", what, err)
		return nil, false
	}
	for _, p := range problems.List {
		r.lost(pos, "%s: weir refuses it: %s", what, p.Message)
	}
	return nil, false
}

// filter takes a filter, or gives the one that is the same already. Nil: weir can't have it.
func (r *run) filter(f *wasmFilter) *wasmFilter {
	name := nameOf(f.name)
	for _, g := range r.out.filters {
		if nameOf(g.name) == name || strings.HasPrefix(g.name, name+"-") {
			f.name = g.name
			if written(f) == written(g) {
				return g
			}
		}
	}
	f.name = r.unique(name)
	spec, ok := r.accept(f.pos, "filter "+f.name, model{filters: []*wasmFilter{f}})
	if !ok {
		delete(r.names, f.name)
		return nil
	}
	// What YAML cannot say as the source did is given as the JSON it stands for.
	for p, have := range map[*payload]string{&f.config: spec.Wasm[0].Config, &f.vmConfig: spec.Wasm[0].VMConfig} {
		if want := string(appendJSON(nil, p.v)); p.kind == treePayload && have != want {
			*p = payload{text: want, kind: textPayload}
		}
	}
	r.out.filters = append(r.out.filters, f)
	return f
}

func written(f *wasmFilter) string {
	l := &lines{}
	f.write(l)
	return l.b.String()
}

// upstream takes an upstream.
func (r *run) upstream(u *upstream) bool {
	if _, ok := r.accept(u.pos, "upstream "+u.name, model{upstreams: []*upstream{u}}); !ok {
		return false
	}
	r.out.upstreams = append(r.out.upstreams, u)
	return true
}

// known says whether there is an upstream of that name.
func (r *run) known(name string) bool {
	return slices.ContainsFunc(r.out.upstreams, func(u *upstream) bool { return u.name == name })
}

// route takes a route.
func (r *run) route(x *route) bool {
	m := model{routes: []*route{x}}
	for _, u := range x.uses {
		if !slices.Contains(m.filters, u.f) {
			m.filters = append(m.filters, u.f)
		}
	}
	for i, name := range x.needs {
		if slices.Contains(x.needs[:i], name) {
			continue
		}
		m.upstreams = append(m.upstreams, &upstream{name: name, endpoints: []endpoint{{url: "http://127.0.0.1:1"}}})
	}
	if len(x.uses) > exchange.MaxSlots {
		r.lost(x.pos, "route %s: %d filters; weir has at most %d on a route", x.name, len(x.uses), exchange.MaxSlots)
		return false
	}
	if _, ok := r.accept(x.pos, "route "+x.name, m); !ok {
		return false
	}
	base := x.name
	for n := 2; slices.ContainsFunc(r.out.routes, func(o *route) bool { return o.name == x.name }); n++ {
		x.name = fmt.Sprintf("%s-%d", base, n)
	}
	r.out.routes = append(r.out.routes, x)
	return true
}

// listener takes a listener.
func (r *run) listener(x *listener) bool {
	for _, o := range r.out.listeners {
		if o.address == x.address {
			r.look(x.pos, "listener %s stands in the source more than once: it is one here", x.address)
			return false
		}
	}
	if _, ok := r.accept(x.pos, "listener "+x.address, model{listeners: []*listener{x}}); !ok {
		return false
	}
	r.out.listeners = append(r.out.listeners, x)
	return true
}

// settle adds what a configuration needs and the source does not say.
func (m *model) settle(r *run) {
	if len(m.listeners) == 0 {
		m.listeners = append(m.listeners, &listener{address: "127.0.0.1:8080", comments: []string{"The source names no listener that could be translated: say where to listen."}})
	}
	if len(m.routes) > 0 || len(m.filters) == 0 {
		return
	}
	for n := 0; n*exchange.MaxSlots < len(m.filters); n++ {
		x := &route{name: "all", path: "/*", target: `respond: {status: 404, body: "no upstream as yet\n"}`}
		if n > 0 {
			x.name = fmt.Sprintf("all-%d", n+1)
			x.path = "/" + x.name + "/*"
		}
		for _, f := range m.filters[n*exchange.MaxSlots : min((n+1)*exchange.MaxSlots, len(m.filters))] {
			x.uses = append(x.uses, use{f: f, slot: f.slot})
		}
		m.routes = append([]*route{x}, m.routes...)
	}
	m.routes[0].comments = []string{"The source names no routes that could be translated. This one shows the filters in their order: put them on yours."}
}
