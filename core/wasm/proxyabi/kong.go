package proxyabi

import (
	"bytes"

	"github.com/weirproxy/weir/core/wasm/abi"
)

// Kong gives all properties as texts, and has names of its own besides Envoy's: kong.* of its entities, ngx.* of the variables
// of the server that it is built on, and wasmx.* that its scripts set. Dots separate them as well as zero bytes do.

// kong reports whether the plugin that acts wants properties as Kong has them.
func (sh *shard) kong() bool {
	r := sh.root()
	return r != nil && r.plugin.o.Kong
}

// kongProperty is a property by one of Kong's own names.
func (sh *shard) kongProperty(name []byte) property {
	st := sh.stream()
	if st == nil || len(name) > 256 {
		return unknown
	}
	if rest, ok := bytes.CutPrefix(name, prefixKong); ok && separated(rest) {
		return st.kongFact(st.sh.withDots(rest[1:]))
	}
	if rest, ok := bytes.CutPrefix(name, prefixNgx); ok && separated(rest) {
		return st.ngxVariable(rest[1:])
	}
	return unknown
}

var prefixKong, prefixNgx = []byte("kong"), []byte("ngx")

// separated reports whether a new segment begins here.
func separated(rest []byte) bool { return len(rest) > 0 && (rest[0] == 0 || rest[0] == '.') }

// withDots copies a name into sh.scratch with dots between its segments.
func (sh *shard) withDots(name []byte) []byte {
	b := append(sh.scratch[:0], name...)
	for i, c := range b {
		if c == 0 {
			b[i] = '.'
		}
	}
	sh.scratch = b
	return b
}

func (st *stream) kongFact(name []byte) property {
	sh, x, site := st.sh, st.x, &st.f.site
	switch string(name) {
	case "client.protocol", "request.forwarded_scheme":
		return textOf(scheme(x))
	case "nginx.subsystem":
		return sh.string("http")
	case "request.forwarded_host":
		host, _ := cutPort(st.host())
		return filled(host)
	case "request.forwarded_port":
		if _, port := cutPort(st.host()); len(port) > 0 {
			return textOf(port)
		}
		return st.port()
	case "request.port":
		return st.port()
	case "route_id", "route_name":
		return sh.string(site.Route)
	case "service_id", "service_name":
		return st.siteProperty(clusterName, &segments{})
	case "service.response.status":
		if st.settled() && x.Record.UpstreamStatus != 0 {
			return intOf(int64(x.Record.UpstreamStatus))
		}
	case "response.source":
		return st.kongSource()
	}
	return unknown
}

var clusterName = []byte("cluster_name")

// kongSource says who made the answer: the upstream, a filter, or weir for want of one.
func (st *stream) kongSource() property {
	f, _ := st.sh.fieldsOf(mapResponseHeaders)
	switch {
	case f.h == nil || f.status == 0:
		return unknown
	case !st.x.Response.Local:
		return st.sh.string("service")
	case st.x.Record.Filter != "":
		return st.sh.string("exit")
	}
	return st.sh.string("error")
}

// host is the request's, if the guest may see it.
func (st *stream) host() []byte {
	f, _ := st.sh.fieldsOf(mapRequestHeaders)
	if f.h == nil {
		return nil
	}
	return st.x.Request.Host
}

func (st *stream) port() property { return st.endProperty(&segments{b: namePort}, false) }

var namePort, upstreamStatus = []byte("port"), []byte("service.response.status")

func cutPort(host []byte) (name, port []byte) {
	if i := bytes.LastIndexByte(host, ':'); i > bytes.IndexByte(host, ']') {
		return host[:i], host[i+1:]
	}
	return host, nil
}

// ngxVariables are the variables that are one of Envoy's properties by another name.
var ngxVariables = map[string][]byte{
	"args": []byte("request\x00query"), "query_string": []byte("request\x00query"), "request_uri": []byte("request\x00path"), "uri": []byte("request\x00url_path"),
	"document_uri": []byte("request\x00url_path"), "request_method": []byte("request\x00method"), "scheme": []byte("request\x00scheme"),
	"server_protocol": []byte("request\x00protocol"), "http_host": []byte("request\x00host"), "request_id": []byte("request\x00id"),
	"msec": []byte("request\x00time"), "request_time": []byte("request\x00duration"), "content_length": []byte("request\x00headers\x00content-length"),
	"content_type": []byte("request\x00headers\x00content-type"), "status": []byte("response\x00code"), "body_bytes_sent": []byte("response\x00size"),
	"bytes_sent": []byte("response\x00total_size"), "upstream_response_time": []byte("response\x00backend_latency"),
	"connection": []byte("connection\x00id"), "ssl_server_name": []byte("connection\x00requested_server_name"), "ssl_protocol": []byte("connection\x00tls_version"),
	"ssl_client_s_dn": []byte("connection\x00subject_peer_certificate"), "remote_port": []byte("source\x00port"), "server_port": []byte("destination\x00port"),
	"upstream_addr": []byte("upstream\x00address"),
}

func (st *stream) ngxVariable(name []byte) property {
	sh, x := st.sh, st.x
	if as, ok := ngxVariables[string(name)]; ok {
		p := segments{b: as}
		return sh.group(&p)
	}
	switch string(name) {
	case "host":
		host, _ := cutPort(st.host())
		return filled(host)
	case "remote_addr":
		sh.scratch = x.Client.IP.AppendTo(sh.scratch[:0])
		return filled(sh.scratch)
	case "server_addr":
		if x.Client.Local.IsValid() {
			sh.scratch = x.Client.Local.Addr().AppendTo(sh.scratch[:0])
			return textOf(sh.scratch)
		}
	case "https":
		if x.Client.TLS != nil {
			return sh.string("on")
		}
		return textOf(nil)
	case "upstream_status":
		return st.kongFact(upstreamStatus)
	}
	if rest, ok := bytes.CutPrefix(name, []byte("sent_http_")); ok {
		return st.ngxField(mapResponseHeaders, rest)
	}
	if rest, ok := bytes.CutPrefix(name, []byte("http_")); ok {
		return st.ngxField(mapRequestHeaders, rest)
	}
	return unknown
}

// ngxField is a field whose dashes are written as underscores.
func (st *stream) ngxField(kind uint32, name []byte) property {
	f, _ := st.sh.fieldsOf(kind)
	b := append(st.sh.scratch[:0], name...)
	for i, c := range b {
		if b[i] = abi.LowerByte(c); c == '_' {
			b[i] = '-'
		}
	}
	st.sh.scratch = b
	if v, ok := f.get(abi.ViewString(b)); ok {
		return textOf(v)
	}
	return unknown
}
