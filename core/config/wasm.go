package config

import (
	"math"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// WasmFilter is a filter that an operator brings: a module and its bounds.
type WasmFilter struct {
	Pos       Pos
	Name      string
	File      string // resolved; a module, or a folder that holds one; empty: URL says where it is
	URL       string // https://…, http://… or oci://…@sha256:…
	SHA256    string // 64 lower case hexadecimal digits; empty: not pinned
	Config    string // JSON, or the text as it is when a text was given; what a route gives replaces it whole
	CPU       time.Duration
	CPUTotal  time.Duration
	Start     time.Duration
	Memory    int64
	Instances int // 0: auto
	BodyLimit int64
	OnError   string // FailClosed or FailOpen
	Env       []EnvVar
	Calls     []string // upstreams that it may ask

	// Of Proxy-Wasm; http-wasm knows none of them.
	VMID          string        // filters of one VMID and module share instances; empty: those of one name do
	VMConfig      string        // as Config, given to what the filters of a VMID share
	RootID        string        // which of a module's plugins this is
	StopIteration bool          // StopIteration in a header phase still lets the body come to the filter
	Properties    string        // PropertiesEnvoy or PropertiesKong
	Pause         time.Duration // the most that a request may be paused at a time
	Tags          []MetricTag   // labels that are cut out of the names of the filter's metrics
}

// How properties are encoded.
const (
	PropertiesEnvoy = "envoy"
	PropertiesKong  = "kong"
)

// MetricTag is a label of the metrics that a filter defines: the second group of Pattern in the name is its value, the first
// is cut out of the name.
type MetricTag struct {
	Name    string
	Pattern *regexp.Regexp
}

// What happens to a request whose filter failed.
const (
	FailClosed = "fail_closed"
	FailOpen   = "fail_open"
)

// EnvVar is a variable that a filter sees.
type EnvVar struct {
	Pos   Pos
	Name  string
	Value Secret
}

// WasmUse attaches a filter to a route.
type WasmUse struct {
	Pos    Pos
	Filter string
	Slot   string // SlotEdge, SlotIdentity or SlotUpstream
	Config string // that of the filter when the route gives none
	own    bool   // Config is the route's
}

// Where in the pipeline a filter runs.
const (
	SlotEdge     = "edge"
	SlotIdentity = "identity"
	SlotUpstream = "upstream"
)

// DefaultPause is the most that a request may be paused at a time, unless the filter's says otherwise.
const DefaultPause = time.Minute

// maxMemory is what 32 bit addresses reach.
const maxMemory = 4 << 30

// minMemory is a page, the unit in which an instance has memory.
const minMemory = 64 << 10

func (d *decoder) wasmFilters(v value) []WasmFilter {
	entries := d.fields(v)
	out := make([]WasmFilter, len(entries))
	for i, e := range entries {
		f := &out[i]
		*f = WasmFilter{
			Pos:       e.pos,
			Name:      e.name,
			CPU:       5 * time.Millisecond,
			CPUTotal:  50 * time.Millisecond,
			Start:     2 * time.Second,
			Memory:    32 << 20,
			BodyLimit: 1 << 20,
			OnError:   FailClosed,

			Properties: PropertiesEnvoy,
			Pause:      DefaultPause,
		}
		d.declare(filters, e.name)
		readObject(d, e.value, wasmKeys, f)
		switch {
		case e.value.kind != object:
		case !e.value.has("file") && !e.value.has("url"):
			d.fail(e.pos, "it does not say where its module is: give file or url")
		case e.value.has("file") && e.value.has("url"):
			d.fail(e.pos, "file and url both say where the module is; give one")
		}
		if f.CPUTotal < f.CPU {
			d.fail(e.pos, "cpu_total is less than cpu: one call could not use its budget")
		}
	}
	return out
}

var wasmKeys = []key[WasmFilter]{
	{"file", now, func(d *decoder, v value, f *WasmFilter) { f.File = d.path(v) }},
	{"url", now, func(d *decoder, v value, f *WasmFilter) { f.URL = d.wasmURL(v) }},
	{"sha256", now, func(d *decoder, v value, f *WasmFilter) { f.SHA256 = d.sha256(v) }},
	{"config", now, func(d *decoder, v value, f *WasmFilter) { f.Config = d.wasmConfig(v) }},
	{"cpu", now, func(d *decoder, v value, f *WasmFilter) { f.CPU = d.positiveDuration(v) }},
	{"cpu_total", now, func(d *decoder, v value, f *WasmFilter) { f.CPUTotal = d.positiveDuration(v) }},
	{"start", now, func(d *decoder, v value, f *WasmFilter) { f.Start = d.positiveDuration(v) }},
	{"memory", now, func(d *decoder, v value, f *WasmFilter) { f.Memory = d.memory(v) }},
	{"instances", now, func(d *decoder, v value, f *WasmFilter) { f.Instances = d.instances(v) }},
	{"body_limit", now, func(d *decoder, v value, f *WasmFilter) { f.BodyLimit = d.size(v) }},
	{"on_error", now, func(d *decoder, v value, f *WasmFilter) { f.OnError = d.choice(v, onErrors) }},
	{"env", now, func(d *decoder, v value, f *WasmFilter) { f.Env = d.envVars(v) }},
	{"calls", now, func(d *decoder, v value, f *WasmFilter) { f.Calls = d.wasmCalls(v) }},
	{"vm_id", now, func(d *decoder, v value, f *WasmFilter) { f.VMID = d.text(v) }},
	{"vm_config", now, func(d *decoder, v value, f *WasmFilter) { f.VMConfig = d.wasmConfig(v) }},
	{"root_id", now, func(d *decoder, v value, f *WasmFilter) { f.RootID = d.text(v) }},
	{"stop_iteration", now, func(d *decoder, v value, f *WasmFilter) { f.StopIteration = d.boolean(v) }},
	{"properties", now, func(d *decoder, v value, f *WasmFilter) { f.Properties = d.choice(v, propertyStyles) }},
	{"pause", now, func(d *decoder, v value, f *WasmFilter) { f.Pause = d.positiveDuration(v) }},
	{"tags", now, func(d *decoder, v value, f *WasmFilter) { f.Tags = d.metricTags(v) }},
}

var propertyStyles = []word{{PropertiesEnvoy, now}, {PropertiesKong, now}}

var onErrors = []word{{FailClosed, now}, {FailOpen, now}}

var wasmUseKeys = []key[WasmUse]{
	{"filter", must, func(d *decoder, v value, u *WasmUse) { u.Filter = d.mention(v, filters) }},
	{"slot", now, func(d *decoder, v value, u *WasmUse) { u.Slot = d.choice(v, slots) }},
	{"config", now, func(d *decoder, v value, u *WasmUse) { u.Config = d.wasmConfig(v) }},
}

var slots = []word{{SlotEdge, now}, {SlotIdentity, now}, {SlotUpstream, now}}

func (d *decoder) sha256(v value) string {
	s := d.text(v)
	if s != "" && (len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "") {
		d.fail(v.pos, "wants 64 lower case hexadecimal digits, not %q", shorten(s))
	}
	return s
}

// wasmURL checks the form of an address: what is there is asked for when the configuration is used.
func (d *decoder) wasmURL(v value) string {
	s := d.text(v)
	u, err := url.Parse(s)
	switch {
	case s == "":
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "oci":
		d.fail(v.pos, "wants https://…, http://… or oci://…, not %q", shorten(s))
	case u.Scheme == "oci" && !ociDigest.MatchString(s):
		d.fail(v.pos, "an oci:// address ends with the digest of what is meant: @sha256: and 64 hexadecimal digits")
	}
	return s
}

var ociDigest = regexp.MustCompile(`@sha256:[0-9a-f]{64}$`)

func (d *decoder) wasmCalls(v value) []string {
	var out []string
	for _, item := range d.items(v) {
		out = append(out, d.mention(item, upstreams))
	}
	return out
}

func (d *decoder) metricTags(v value) []MetricTag {
	var out []MetricTag
	for _, e := range d.fields(v) {
		if !labelName.MatchString(e.name) {
			d.fail(e.pos, "the name of a label is of letters, digits and underscores, and begins with a letter")
		}
		s := d.text(e.value)
		p, err := regexp.Compile(s)
		switch {
		case err != nil:
			d.fail(e.value.pos, "no regular expression: %v", err)
		case s != "" && p.NumSubexp() < 2:
			d.fail(e.value.pos, "wants two groups: the first is cut out of the metric's name, the second, inside of it, is the label's value")
		default:
			out = append(out, MetricTag{e.name, p})
		}
	}
	return out
}

var labelName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

func (d *decoder) memory(v value) int64 {
	n := d.positiveSize(v)
	if n > maxMemory {
		d.fail(v.pos, "is more than 4GiB, which no instance can have")
	}
	if n > 0 && n < minMemory {
		d.fail(v.pos, "is less than 64KiB, a page of memory")
	}
	return n
}

func (d *decoder) instances(v value) int {
	if v.kind == integer {
		return int(d.integer(v, 1, math.MaxInt16))
	}
	if v.kind == text {
		if s, env, ok := d.plain(v); !ok || s == "auto" {
			return 0
		} else if env {
			return int(d.integer(v, 1, math.MaxInt16))
		}
	}
	d.wants(v, "auto or a whole number")
	return 0
}

func (d *decoder) envVars(v value) []EnvVar {
	var out []EnvVar
	for _, e := range d.fields(v) {
		if strings.ContainsAny(e.name, "=\x00") {
			d.fail(e.pos, "the name of a variable has no = in it")
		}
		out = append(out, EnvVar{e.pos, e.name, d.secret(e.value)})
	}
	return out
}

func (d *decoder) wasmUses(v value) []WasmUse {
	items := d.items(v)
	out := make([]WasmUse, len(items))
	for i, item := range items {
		u := &out[i]
		*u = WasmUse{Pos: item.pos, Slot: SlotUpstream}
		if item.kind == object {
			readObject(d, item, wasmUseKeys, u)
			u.own = item.has("config")
			continue
		}
		u.Filter = d.mention(item, filters)
	}
	return out
}
