package importer

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weirproxy/weir/core/config"
)

// Traefik imports documents of Traefik: manifests of plugins (.traefik.yml), the dynamic configuration that uses plugins, and
// the static one that names them. All documents are one configuration together. dir is where the result will lie: the paths of modules
// beside manifests are relative to it. The error is a *config.Problems; a plugin of Go source is one.
func Traefik(docs []config.Foreign, dir string) (*Result, error) {
	t := &traefik{
		run: newRun(docs), dir: dir, plugins: map[string]*plugin{}, middlewares: map[string]config.Foreign{}, services: map[string]config.Foreign{},
		filters: map[string]*wasmFilter{},
	}
	for _, d := range docs {
		t.document(d)
	}
	if len(docs) == 0 {
		t.problems.Add(&config.Problem{Message: "there is nothing to import"})
	}
	if t.problems.Err() != nil {
		return nil, t.problems.Err()
	}
	t.matchManifests()
	for _, name := range t.order {
		t.pluginFilter(name, t.middlewares[name])
	}
	for _, m := range t.manifests {
		t.manifestFilter(m)
	}
	t.routes()
	t.listeners()
	return t.result()
}

// traefik is what the documents hold, by kind.
type traefik struct {
	*run
	dir         string
	manifests   []*manifest
	plugins     map[string]*plugin
	middlewares map[string]config.Foreign
	order       []string // of middlewares, as they stand in the source
	services    map[string]config.Foreign
	routers     []*router
	entries     []entryPoint
	certs       [][2]string
	filters     map[string]*wasmFilter // by the name of their middleware
}

// manifest is a .traefik.yml.
type manifest struct {
	pos      config.Pos
	title    string
	folder   string
	file     string // of the module
	testData config.Foreign
	used     bool
}

// plugin is one that the static configuration names.
type plugin struct {
	pos             config.Pos
	module, version string
	local           bool
	envs            []config.Foreign
	manifest        *manifest
}

type entryPoint struct {
	pos           config.Pos
	name, address string
	tls           bool
}

// document sorts one document by what is in it; one may be static and dynamic configuration at once.
func (t *traefik) document(v config.Foreign) {
	switch v.Kind() {
	case config.ForeignNull:
		return
	case config.ForeignList:
		for _, item := range v.Items() {
			t.document(item)
		}
		return
	}
	o := t.object(v)
	switch {
	case o.has("kind") && o.has("apiVersion"):
		t.resource(o)
		return
	case o.has("testData") || o.has("displayName") || o.has("wasmPath") || o.has("runtime"):
		t.manifest(o)
		return
	case o.has("http") || o.has("tls") || o.has("entryPoints") || o.has("experimental") || o.has("tcp") || o.has("udp") || o.has("providers"):
	default:
		t.fail(v.Pos(), "not known: a plugin's manifest (.traefik.yml), or Traefik's dynamic or static configuration in YAML or JSON is expected")
		return
	}
	t.experimental(o.object("experimental"))
	for _, f := range o.get("entryPoints").Fields() {
		t.entryPoint(f)
	}
	h := o.object("http")
	for _, f := range h.get("middlewares").Fields() {
		t.middleware(f.Name, f.Value)
	}
	for _, f := range h.get("services").Fields() {
		t.services[f.Name] = f.Value
	}
	for _, f := range h.get("routers").Fields() {
		t.router(f)
	}
	h.lost("serversTransports", "weir has tls: and timeouts: on an upstream")
	h.rest()
	tls := o.object("tls")
	for _, c := range tls.list("certificates") {
		pair := t.object(c)
		pair.ignore("stores")
		t.certs = append(t.certs, [2]string{pair.text("certFile"), pair.text("keyFile")})
		pair.rest()
	}
	tls.rest()
	o.ignore("global", "pilot")
	for _, k := range []string{"tcp", "udp"} {
		o.lost(k, "weir speaks HTTP")
	}
	for k, like := range map[string]string{
		"providers": "weir reads one file", "api": "weir has admin: {address: …}", "ping": "weir has health: on a listener", "metrics": "weir has /metrics on admin:",
		"log": "weir has log: {level: …}", "accessLog": "weir has access_log: {output: …}", "certificatesResolvers": "weir has tls: {acme: …} on a listener",
		"tracing": "weir passes tracing fields on", "serversTransport": "weir has tls: and timeouts: on an upstream",
	} {
		o.lost(k, like)
	}
	o.rest()
}

// resource reads an object of Kubernetes: a Middleware is one by another name.
func (t *traefik) resource(o *object) {
	name := o.object("metadata").text("name")
	if kind := o.text("kind"); kind != "Middleware" {
		t.lost(o.pos(), "%s %s: of Kubernetes' kinds Middleware is read", kind, name)
		return
	}
	if !o.has("spec") {
		t.fail(o.pos(), "Middleware %s has no spec", name)
		return
	}
	t.middleware(name, o.get("spec"))
}

func (t *traefik) middleware(name string, v config.Foreign) {
	if _, dup := t.middlewares[name]; dup {
		t.fail(v.Pos(), "middleware %s stands in the source already", name)
		return
	}
	t.middlewares[name] = v
	t.order = append(t.order, name)
}

// manifest reads a .traefik.yml.
func (t *traefik) manifest(o *object) {
	m := &manifest{pos: o.pos(), title: o.text("displayName"), testData: o.get("testData")}
	m.folder = filepath.Dir(o.pos().File)
	m.file = t.relative(filepath.Join(m.folder, cmp.Or(o.text("wasmPath"), "plugin.wasm")))
	runtime := o.text("runtime")
	if runtime != "wasm" {
		pos := o.pos()
		if o.has("runtime") {
			pos = o.at("runtime")
		}
		t.fail(pos, "%s is a plugin of Go source, which Traefik interprets (runtime: %s): there is no WebAssembly module that weir could load; "+
			"a plugin that is built for http-wasm runs here", cmp.Or(m.title, "this"), cmp.Or(runtime, "yaegi, where none is given"))
		return
	}
	if kind := o.text("type"); kind != "" && kind != "middleware" {
		t.fail(o.at("type"), "%s is a plugin of type %s: weir runs middlewares", cmp.Or(m.title, "this"), kind)
		return
	}
	o.ignore("summary", "iconPath", "bannerPath", "import", "basePkg", "compatibility")
	o.rest()
	t.manifests = append(t.manifests, m)
}

// relative is a path as it is seen from where the result will lie.
func (t *traefik) relative(file string) string {
	if rel, err := filepath.Rel(t.dir, file); err == nil && !filepath.IsAbs(file) {
		return filepath.ToSlash(rel)
	}
	return filepath.ToSlash(file)
}

func (t *traefik) experimental(o *object) {
	for _, k := range []string{"plugins", "localPlugins"} {
		for _, f := range o.get(k).Fields() {
			p := t.object(f.Value)
			s := p.object("settings")
			t.plugins[f.Name] = &plugin{pos: f.Pos, module: p.text("moduleName"), version: p.text("version"), local: k == "localPlugins", envs: s.list("envs")}
			if s.has("mounts") {
				t.lost(s.at("mounts"), "plugin %s: mounts: a filter of weir's sees no files", f.Name)
			}
			s.ignore("useUnsafe")
			s.rest()
			if p.has("hash") {
				t.lost(p.at("hash"), "plugin %s: hash is that of the archive; weir's sha256 is that of the module", f.Name)
			}
			p.rest()
		}
	}
	o.rest()
}

// matchManifests finds the manifest of each plugin: it lies in a folder of the module's name, or there is but one of both.
func (t *traefik) matchManifests() {
	for _, p := range t.plugins {
		for _, m := range t.manifests {
			if p.module != "" && strings.HasSuffix(filepath.ToSlash(m.folder), p.module) || len(t.plugins) == 1 && len(t.manifests) == 1 {
				p.manifest, m.used = m, true
			}
		}
	}
}

// pluginFilter makes a filter of a middleware that is a plugin.
func (t *traefik) pluginFilter(name string, v config.Foreign) {
	uses := v.Get("plugin")
	if uses.Kind() != config.ForeignObject {
		return
	}
	if len(uses.Fields()) != 1 {
		t.fail(uses.Pos(), "middleware %s: exactly one plugin is expected", name)
		return
	}
	use := uses.Fields()[0]
	f := &wasmFilter{pos: use.Pos, name: name}
	switch use.Value.Kind() {
	case config.ForeignObject, config.ForeignList:
		f.config = treeOf(use.Value)
	case config.ForeignNull:
	default:
		t.wants(use.Value, "keys and values")
	}
	p := t.plugins[use.Name]
	if p == nil {
		p = &plugin{pos: use.Pos}
		if len(t.manifests) == 1 {
			p.manifest, t.manifests[0].used = t.manifests[0], true
		} else {
			t.look(use.Pos, "plugin %s: the static configuration, which names its module, is not among the sources", use.Name)
		}
	}
	for _, v := range p.envs {
		f.hostEnv(t.run, v.Pos(), t.text(v))
	}
	t.module(use.Name, p, f)
	if f = t.filter(f); f != nil {
		t.filters[name] = f
		t.did(use.Pos, "middleware %s of plugin %s is the filter %s", name, use.Name, f.name)
	}
}

// module says where a plugin's module is to be found.
func (t *traefik) module(name string, p *plugin, f *wasmFilter) {
	switch {
	case p.manifest != nil:
		f.file = p.manifest.file
	case p.local && p.module != "":
		f.file = filepath.ToSlash(filepath.Join("plugins-local/src", p.module, "plugin.wasm"))
		t.look(p.pos, "plugin %s: its manifest is not among the sources: that its module is %s is the custom", name, f.file)
	default:
		f.file = nameOf(name) + ".wasm"
		if p.module != "" {
			f.fileNote = "plugin.wasm of " + p.module + " " + p.version
			t.look(p.pos, "plugin %s: put the module of %s %s at %s; a plugin of Go source, which Traefik interprets, has none and cannot run here", name, p.module, p.version, f.file)
		}
	}
}

// manifestFilter makes a filter of a manifest that nothing uses, with its test data.
func (t *traefik) manifestFilter(m *manifest) {
	if m.used {
		return
	}
	f := &wasmFilter{pos: m.pos, name: cmp.Or(m.title, filepath.Base(m.folder)), file: m.file}
	if m.testData.Kind() == config.ForeignObject {
		f.config = treeOf(m.testData)
		t.look(m.testData.Pos(), "the filter's config is the test data of its manifest")
	}
	if f = t.filter(f); f != nil {
		t.did(m.pos, "plugin %s is the filter %s", m.title, f.name)
	}
}

func (t *traefik) entryPoint(f config.ForeignField) {
	o := t.object(f.Value)
	address, network, _ := strings.Cut(o.text("address"), "/")
	h := o.object("http")
	e := entryPoint{pos: f.Pos, name: f.Name, address: address, tls: h.has("tls")}
	h.lost("redirections", "weir has redirect: on a route")
	h.lost("middlewares", "put them on routes")
	h.ignore("tls", "encodeQuerySemicolons", "sanitizePath")
	h.rest()
	if o.has("forwardedHeaders") {
		t.lost(o.at("forwardedHeaders"), "entry point %s: weir has trusted_proxies:", f.Name)
	}
	if o.has("proxyProtocol") {
		t.lost(o.at("proxyProtocol"), "entry point %s: weir has proxy_protocol: {trusted: […]} on a listener", f.Name)
	}
	o.lost("transport", "weir has timeouts:")
	o.ignore("asDefault", "http2", "reusePort", "allowACMEByPass", "observability")
	o.rest()
	if network == "udp" {
		t.lost(f.Pos, "entry point %s: weir speaks HTTP over TCP", f.Name)
		return
	}
	t.entries = append(t.entries, e)
}

// listeners makes listeners of entry points.
func (t *traefik) listeners() {
	for _, e := range t.entries {
		for _, r := range t.routers {
			e.tls = e.tls || r.tls && (slices.Contains(r.entries, e.name) || len(r.entries) == 0 && strings.HasSuffix(e.address, ":443"))
		}
		l := &listener{pos: e.pos, address: e.address, tls: e.tls}
		if e.tls {
			l.certs = t.certs
		}
		if e.tls && len(t.certs) == 0 {
			t.lost(e.pos, "entry point %s on %s: its certificates are not in the sources, and without TLS it must not be served: say listeners: [{address: %q, tls: {certificates: […]}}]", e.name, e.address, e.address)
			continue
		}
		if t.listener(l) {
			t.did(e.pos, "entry point %s is the listener on %s", e.name, e.address)
		}
	}
	if len(t.entries) > 1 && len(t.routers) > 0 {
		t.look(t.entries[0].pos, "routers of some entry points only: weir's routes are those of all listeners")
	}
}
