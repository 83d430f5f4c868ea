package importer

import (
	"encoding/base64"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/weirproxy/weir/core/config"
)

// httpFilter reads an entry of http_filters, or the like of it. It gives no filter for what is no WebAssembly, and has told
// of that then; false if it is one that weir cannot have, and might miss.
func (e *envoy) httpFilter(o *object) (*wasmFilter, bool) {
	name := o.text("name")
	o.ignore("@type", "is_optional", "disabled")
	if o.has("config_discovery") {
		ext, ok := e.extensions[name]
		if !ok {
			e.lost(o.at("config_discovery"), "filter %s: its configuration comes from a control plane, and is not among the sources", name)
			return nil, false
		}
		return e.httpFilter(e.object(ext))
	}
	typed, typeURL := e.typed(o)
	kind := filterKind(typeURL, name)
	if kind != "wasm" {
		e.otherFilter(o, name, kind)
		return nil, true
	}
	f := e.plugin(typed.object("config"), name)
	typed.rest()
	o.rest()
	return f, f != nil || typed.object("config").object("vm_config").text("runtime") == builtIn
}

// builtIn is the runtime of what is a part of Envoy: Istio's statistics and the like.
const builtIn = "envoy.wasm.runtime.null"

// typed gives the message under typed_config with its type, unwrapped if it stands in a TypedStruct.
func (e *envoy) typed(o *object) (m *object, typeURL string) {
	m = o.object("typed_config")
	if e.typeOf(m) == "TypedStruct" {
		return m.object("value"), m.text("type_url")
	}
	return m, m.text("@type")
}

var filterType = regexp.MustCompile(`filters?\.(?:http|network)\.([a-z0-9_]+)`)

// filterKind is the short name of a filter: of its type, or where there is none of the name that it has by custom.
func filterKind(typeURL, name string) string {
	for _, s := range []string{typeURL, name} {
		if m := filterType.FindStringSubmatch(s); m != nil {
			return m[1]
		}
	}
	return name[strings.LastIndexByte(name, '.')+1:]
}

// likes are what weir has of Envoy's own filters.
var likes = map[string]string{
	"cors":                  "weir has cors: on a route",
	"jwt_authn":             "weir has jwt: and auth: {jwt: …} on a route",
	"ext_authz":             "who is let in was decided by a service; weir has auth: by tokens and certificates",
	"rbac":                  "weir has require: and ip: on a route",
	"oauth2":                "weir has jwt: and auth: {jwt: …} on a route",
	"basic_auth":            "weir has auth: by tokens and certificates",
	"api_key_auth":          "weir has auth: by tokens and certificates",
	"local_ratelimit":       "weir has limits: on a route",
	"ratelimit":             "weir has limits: on a route",
	"header_mutation":       "weir has headers: on a route",
	"health_check":          "weir has health: on a listener",
	"buffer":                "weir has body_bytes: on a route",
	"lua":                   "weir runs no Lua: a WebAssembly filter can do the same",
	"ext_proc":              "weir has no external processing: a WebAssembly filter can do the same",
	"fault":                 "weir injects no faults",
	"compressor":            "weir compresses nothing",
	"admission_control":     "weir has breaker: and max_in_flight: on an upstream",
	"bandwidth_limit":       "weir limits no bandwidth",
	"grpc_web":              "weir passes gRPC on as it is",
	"grpc_json_transcoder":  "weir passes gRPC on as it is",
	"adaptive_concurrency":  "weir has max_in_flight: and queue: on an upstream",
	"golang":                "a shared object is no WebAssembly",
	"dynamic_modules":       "a shared object is no WebAssembly",
	"dynamic_forward_proxy": "weir forwards to upstreams that are named",
	"credential_injector":   "weir has headers: {request: {set: …}} on a route",
	"set_metadata":          "weir has metadata: on a route",
	"original_src":          "weir has proxy_protocol: on an upstream",
	"stateful_session":      "weir has balance: hash on an upstream",
	"gzip":                  "weir compresses nothing",
	"decompressor":          "weir decompresses nothing",
	"cache":                 "weir caches no answers",
	"rate_limit_quota":      "weir has limits: on a route",
}

// guards are the filters that decide who is let in.
var guards = map[string]bool{
	"jwt_authn": true, "ext_authz": true, "rbac": true, "oauth2": true, "basic_auth": true, "api_key_auth": true, "ext_proc": true, "lua": true,
}

func (e *envoy) otherFilter(o *object, name, kind string) {
	if kind == "router" {
		return
	}
	if like := likes[kind]; like != "" {
		e.lost(o.pos(), "HTTP filter %s: %s", name, like)
		return
	}
	e.lost(o.pos(), "HTTP filter %s: weir has none like it", name)
}

// plugin reads a PluginConfig. Nil is one that weir cannot have, and that has been told of.
func (e *envoy) plugin(o *object, entry string) *wasmFilter {
	name := o.text("name")
	if name == "" {
		name = entry
	}
	f := &wasmFilter{pos: o.pos(), name: name, rootID: o.text("root_id")}
	if o.v.Kind() != config.ForeignObject {
		e.lost(o.pos(), "filter %s: it has no config", name)
		return nil
	}
	f.config = e.message(o, "configuration", name)
	e.onError(o, f)
	f.stop = o.boolean("allow_on_headers_stop_iteration")
	o.lost("capability_restriction_config", "weir restricts what filters may do in its own way: calls:, env:, and bounds of CPU and memory")
	vm := o.object("vm_config")
	e.vm(vm, f)
	o.rest()
	if !e.code(vm, f) {
		return nil
	}
	vm.rest()
	return f
}

func (e *envoy) onError(o *object, f *wasmFilter) {
	policy := o.enum("failure_policy")
	if o.boolean("fail_open") {
		policy = "FAIL_OPEN"
	}
	switch policy {
	case "FAIL_OPEN", "3":
		f.open = true
	case "FAIL_RELOAD", "1":
		f.openGuess = "FAIL_RELOAD: weir makes a new instance in either case"
		e.look(o.at("failure_policy"), "filter %s: FAIL_RELOAD is fail_closed; weir makes a new instance after each failure by itself", f.name)
	case "", "UNSPECIFIED", "FAIL_CLOSED", "0", "2":
	default:
		e.lost(o.at("failure_policy"), "filter %s: failure_policy %s", f.name, policy)
	}
	o.ignore("reload_config") // the pauses are weir's own
}

// vm reads a VmConfig but for its code.
func (e *envoy) vm(o *object, f *wasmFilter) {
	f.vmID = o.text("vm_id")
	f.vmConfig = e.message(o, "configuration", f.name)
	o.ignore("allow_precompiled", "nack_on_code_cache_miss")
	switch runtime := o.text("runtime"); runtime {
	case "", "envoy.wasm.runtime.v8", "envoy.wasm.runtime.wamr", "envoy.wasm.runtime.wasmtime", "envoy.wasm.runtime.wavm", builtIn:
	default:
		e.look(o.at("runtime"), "filter %s: it is for the runtime %s; weir runs it all the same", f.name, runtime)
	}
	env := o.object("environment_variables")
	for _, v := range env.get("key_values").Fields() {
		f.env = append(f.env, [2]string{v.Name, strings.ReplaceAll(e.text(v.Value), "$", "$$")})
	}
	for _, v := range env.list("host_env_keys") {
		f.hostEnv(e.run, v.Pos(), e.text(v))
	}
	env.rest()
}

var variable = regexp.MustCompile(`^[A-Z_][A-Z0-9_]*$`)

// hostEnv passes a variable of the host's on.
func (f *wasmFilter) hostEnv(r *run, pos config.Pos, name string) {
	if !variable.MatchString(name) {
		r.lost(pos, "filter %s: the variable %s of the host: weir passes on those whose names are of capitals, digits and _", f.name, name)
		return
	}
	f.env = append(f.env, [2]string{name, "${" + name + ":-}"})
}

// message reads what a plugin gets as its configuration: text, or JSON.
func (e *envoy) message(o *object, key, name string) payload {
	v := o.get(key)
	switch v.Kind() {
	case config.ForeignAbsent, config.ForeignNull:
		return payload{}
	case config.ForeignText: // Envoy wants a message; that the text is meant is plain
		return payload{text: v.Text(), kind: textPayload}
	}
	m := e.object(v)
	inner := m.get("value")
	switch kind := e.typeOf(m); kind {
	case "StringValue":
		return payload{text: e.text(inner), kind: textPayload}
	case "BytesValue":
		b, err := base64.StdEncoding.DecodeString(inner.Text())
		if err != nil {
			e.fail(inner.Pos(), "no base64: %v", err)
		}
		return payload{text: string(b), kind: textPayload}
	case "Struct":
		return treeOf(inner)
	case "":
		return treeOf(v)
	default:
		e.lost(v.Pos(), "filter %s: its %s is a message of type %s, which is given in its binary form; write the JSON or text that the filter wants", name, key, kind)
		return payload{}
	}
}

// code reads where the module comes from; false if there is none that weir can run.
func (e *envoy) code(vm *object, f *wasmFilter) bool {
	code := vm.object("code")
	if vm.text("runtime") == builtIn {
		e.lost(vm.pos(), "filter %s: it is built into Envoy (runtime null): there is no module", f.name)
		return false
	}
	local, remote := code.object("local"), code.object("remote")
	switch {
	case local.has("filename"):
		f.file = local.text("filename")
	case local.has("inline_bytes"):
		f.file = nameOf(f.name) + ".wasm"
		f.fileNote = "the module stands in the source itself"
		e.look(local.at("inline_bytes"), "filter %s: its module stands in the source: write the bytes, base64 decoded, to %s", f.name, f.file)
	case local.has("inline_string"):
		e.lost(local.pos(), "filter %s: inline_string names what is built into Envoy: there is no module", f.name)
		return false
	case local.has("environment_variable"):
		e.lost(local.pos(), "filter %s: its module stands in a variable of the host", f.name)
		return false
	case remote.v.Kind() == config.ForeignObject:
		uri := remote.object("http_uri")
		f.url, f.sha256 = uri.text("uri"), strings.ToLower(remote.text("sha256"))
		uri.ignore("cluster", "timeout")
		remote.ignore("retry_policy")
		uri.rest()
	default:
		e.lost(vm.pos(), "filter %s: it has no code", f.name)
		return false
	}
	local.ignore("watched_directory")
	local.rest()
	remote.rest()
	code.rest()
	return true
}

// tags makes labels of metrics out of tag specifiers.
func (e *envoy) tags() {
	seen := map[string]bool{}
	for _, v := range e.statsTags {
		o := e.object(v)
		name := o.text("tag_name")
		label := strings.Trim(regexp.MustCompile(`[^A-Za-z0-9_]+`).ReplaceAllString(name, "_"), "_")
		pattern := o.text("regex")
		o.lost("fixed_value", "the label "+name+" has one value; weir's metrics get labels where they are scraped")
		o.rest()
		if pattern == "" {
			continue
		}
		pattern, why := tagPattern(pattern)
		switch {
		case why != "":
			e.lost(o.at("regex"), "tag %s: %s", name, why)
			continue
		case len(e.out.filters) == 0:
			e.lost(o.pos(), "tag %s: labels are those of filters' metrics, and there is no filter", name)
			continue
		case seen[label]:
			e.lost(o.pos(), "tag %s: there is a label of that name already", name)
			continue
		}
		probe := &wasmFilter{name: "probe", file: "x", tags: [][2]string{{label, pattern}}}
		if _, ok := e.accept(o.pos(), "tag "+name, model{filters: []*wasmFilter{probe}}); !ok {
			continue
		}
		seen[label] = true
		for _, f := range e.out.filters {
			f.tags = append(f.tags, [2]string{label, pattern})
		}
		e.did(o.pos(), "tag %s is a label of the filters' metrics: tags: %s", name, label)
		if label != name {
			e.look(o.pos(), "tag %s is called %s: labels are of letters, digits and underscores", name, label)
		}
	}
}

// tagPattern makes a pattern of weir's: the second group is always the value. Names are looked through with Envoy's prefix.
func tagPattern(s string) (pattern, why string) {
	if strings.HasPrefix(s, "^") && !strings.HasPrefix(s, "^wasmcustom") && !strings.HasPrefix(s, "^(") {
		return "", "its pattern is about other metrics than those of filters"
	}
	re, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		return "", "no regular expression: " + err.Error()
	}
	if re.MaxCap() == 0 {
		return "", "its pattern has no group: nothing would be its value"
	}
	if re.MaxCap() > 1 {
		return s, ""
	}
	s = twice(s)
	if re, err = syntax.Parse(s, syntax.Perl); err != nil || re.MaxCap() != 2 {
		return "", "weir's pattern wants two groups, the second, inside of the first, is the value"
	}
	return s, ""
}

// twice puts the only group of a pattern into one more.
func twice(s string) string {
	begin, depth := -1, 0
	for i := 0; i < len(s); i = after(s, i) {
		switch {
		case s[i] == '(' && begin >= 0:
			depth++
		case s[i] == '(' && (!strings.HasPrefix(s[i:], "(?") || strings.HasPrefix(s[i:], "(?P<") || strings.HasPrefix(s[i:], "(?<")):
			begin, depth = i, 1
		case s[i] == ')' && begin >= 0:
			if depth--; depth == 0 {
				return s[:begin] + "(" + s[begin:i+1] + ")" + s[i+1:]
			}
		}
	}
	return s
}

// after is behind the element of a pattern at i: a class of characters, an escaped one, or one alone.
func after(s string, i int) int {
	switch s[i] {
	case '\\':
		return i + 2
	case '[':
		for i++; i < len(s) && s[i] != ']'; i++ {
			if s[i] == '\\' {
				i++
			}
		}
	}
	return i + 1
}
