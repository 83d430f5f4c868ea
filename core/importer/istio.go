package importer

import (
	"strings"

	"github.com/weirproxy/weir/core/config"
)

// wasmPlugin is one of Istio's plugins, and where it stands among them.
type wasmPlugin struct {
	name     string
	phase    int
	priority int64
	filter   *wasmFilter
}

// phases is where Istio puts plugins, in the order of a request, with the slot that is nearest.
var phases = map[string]struct {
	order int
	slot  string
}{
	"AUTHN": {0, "edge"}, "AUTHZ": {1, "identity"}, "STATS": {2, ""}, "UNSPECIFIED_PHASE": {3, ""}, "": {3, ""},
}

// wasmPlugin reads a WasmPlugin of extensions.istio.io, or that of extensions.higress.io, which has rules by route beside.
func (e *envoy) wasmPlugin(o *object) {
	meta, s := o.object("metadata"), o.object("spec")
	o.ignore("apiVersion", "status")
	o.rest()
	f := &wasmFilter{pos: o.pos(), name: meta.text("name"), rootID: s.text("pluginName")}
	if f.name == "" {
		f.name = f.rootID
	}
	p := wasmPlugin{name: f.name, filter: f, priority: s.number("priority", 0)}
	if t := s.text("type"); t == "NETWORK" {
		e.lost(s.at("type"), "plugin %s: a network filter; weir runs filters of HTTP", p.name)
		return
	}
	phase, ok := phases[s.text("phase")]
	if !ok {
		e.wants(s.get("phase"), "AUTHN, AUTHZ, STATS or UNSPECIFIED_PHASE")
	}
	p.phase, f.slot = phase.order, phase.slot
	for _, k := range []string{"pluginConfig", "defaultConfig"} { // the other one is Higress's
		if c := s.object(k); c.v.Kind() == config.ForeignObject {
			f.config = treeOf(c.v)
		}
	}
	s.lost("matchRules", "weir configures a filter for a route alone there: wasm: [{filter: "+f.name+", config: {…}}]")
	switch policy := s.text("failStrategy"); policy {
	case "FAIL_OPEN":
		f.open = true
	case "FAIL_RELOAD":
		e.look(s.at("failStrategy"), "plugin %s: FAIL_RELOAD is fail_closed; weir makes a new instance after each failure by itself", p.name)
	case "", "FAIL_CLOSE":
	default:
		e.wants(s.get("failStrategy"), "FAIL_CLOSE, FAIL_OPEN or FAIL_RELOAD")
	}
	e.pluginEnv(s, f)
	e.pluginURL(s, f)
	s.ignore("imagePullPolicy") // what is pinned is pulled once
	s.lost("imagePullSecret", "give the credentials to weir filter pull")
	s.lost("verificationKey", "pin the module by its digest")
	for _, k := range []string{"selector", "targetRef", "targetRefs", "match"} {
		if s.has(k) {
			e.look(s.at(k), "plugin %s: %s says which traffic it is for: put it on the routes that are meant", p.name, k)
		}
	}
	s.rest()
	e.wasmPlugins = append(e.wasmPlugins, p)
}

func (e *envoy) pluginEnv(s *object, f *wasmFilter) {
	vm := s.object("vmConfig")
	for _, v := range vm.list("env") {
		env := e.object(v)
		name := env.text("name")
		if env.text("valueFrom") == "HOST" {
			f.hostEnv(e.run, v.Pos(), name)
		} else {
			f.env = append(f.env, [2]string{name, strings.ReplaceAll(env.text("value"), "$", "$$")})
		}
		env.rest()
	}
	vm.rest()
}

// pluginURL reads where the module is: an OCI image unless the address says otherwise. What is not pinned cannot be named in
// a configuration of weir's: it is pulled into a file.
func (e *envoy) pluginURL(s *object, f *wasmFilter) {
	address, sum := s.text("url"), strings.ToLower(s.text("sha256"))
	sum = strings.TrimPrefix(sum, "sha256:")
	if path, ok := strings.CutPrefix(address, "file://"); ok {
		f.file, f.sha256 = path, sum
		return
	}
	if strings.HasPrefix(address, "http://") || strings.HasPrefix(address, "https://") {
		f.url, f.sha256 = address, sum
		switch {
		case sum != "":
		case strings.HasPrefix(address, "http://"):
			e.look(s.at("url"), "plugin %s: over http:// weir takes a module with a sha256: only", f.name)
		default:
			e.look(s.at("url"), "plugin %s: without sha256 the module may become another one any time", f.name)
		}
		return
	}
	image := "oci://" + strings.TrimPrefix(address, "oci://")
	switch {
	case strings.Contains(image, "@sha256:"):
		f.url = image
	case sum != "":
		f.url = image + "@sha256:" + sum
	default:
		f.file = nameOf(f.name) + ".wasm"
		f.fileNote = "from " + image
		e.look(s.at("url"), "plugin %s: %s is not pinned by a digest; weir filter pull prints the address with its digest: url: %s@sha256:…; or put the module at %s", f.name, image, image, f.file)
	}
}

// envoyFilter reads an EnvoyFilter's patches: those that bring WebAssembly.
func (e *envoy) envoyFilter(o *object) {
	meta, s := o.object("metadata"), o.object("spec")
	o.ignore("apiVersion", "status")
	o.rest()
	name := meta.text("name")
	var filters []config.Foreign
	for _, v := range s.list("configPatches") {
		p := e.object(v)
		patch := p.object("patch")
		value, operation := patch.get("value"), patch.text("operation")
		patch.ignore("filterClass")
		switch at := p.text("applyTo"); at {
		case "EXTENSION_CONFIG":
			e.extensions[value.Get("name").Text()] = value
		case "HTTP_FILTER":
			if operation == "REMOVE" || value.Kind() != config.ForeignObject {
				e.lost(v.Pos(), "EnvoyFilter %s: a patch that changes a filter of Istio's own", name)
				continue
			}
			filters = append(filters, value)
			if p.has("match") {
				e.look(p.at("match"), "EnvoyFilter %s: match says which traffic the filter is for, and %s where it stands: put it on the routes that are meant", name, operation)
			}
		case "BOOTSTRAP":
			e.bootstrap(e.object(value))
		case "CLUSTER":
			if operation == "ADD" {
				e.clusters = append(e.clusters, value)
				continue
			}
			e.lost(v.Pos(), "EnvoyFilter %s: a patch of a cluster", name)
		default:
			e.lost(v.Pos(), "EnvoyFilter %s: a patch of %s", name, at)
		}
		patch.rest()
		p.ignore("match")
		p.rest()
	}
	e.loose = append(e.loose, filters...)
	for _, k := range []string{"workloadSelector", "targetRefs"} {
		if s.has(k) {
			e.look(s.at(k), "EnvoyFilter %s: %s says which traffic it is for: put its filters on the routes that are meant", name, k)
		}
	}
	s.ignore("priority")
	s.rest()
}
