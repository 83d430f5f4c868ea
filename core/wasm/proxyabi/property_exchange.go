package proxyabi

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wire"
)

// requestProperty is a request.*: as long as the guest may see the request's fields.
func (st *stream) requestProperty(p *segments) property {
	sh, x := st.sh, st.x
	f, _ := sh.fieldsOf(mapRequestHeaders)
	if f.h == nil {
		return unknown
	}
	switch string(p.next()) {
	case "path":
		return textOf(x.Request.Target)
	case "url_path":
		return textOf(x.Request.Path)
	case "query":
		return textOf(x.Request.Query)
	case "host":
		return textOf(x.Request.Host)
	case "method":
		return textOf(st.verb())
	case "scheme":
		return textOf(scheme(x))
	case "protocol":
		return textOf(protocolOf(st.protocol()))
	case "headers":
		return f.property(p)
	case "referer":
		return f.joint("referer")
	case "useragent":
		return f.joint("user-agent")
	case "id":
		return filled(x.RequestID)
	case "time":
		return nanos(clock.Wall(x.Record.Start).UnixNano())
	case "duration":
		return st.elapsed(x.Record.Start)
	case "size":
		return st.taken(0)
	case "headers_bytes":
		_, size := f.measure()
		return intOf(int64(size))
	case "total_size":
		_, size := f.measure()
		return st.taken(int64(size))
	}
	return unknown
}

var http10, http11, http2 = []byte("HTTP/1.0"), []byte("HTTP/1.1"), []byte("HTTP/2")

func protocolOf(version int) []byte {
	switch version {
	case exchange.HTTP10:
		return http10
	case exchange.HTTP20:
		return http2
	}
	return http11
}

// elapsed is the time from a reading of the clock to the exchange's end, once that has come.
func (st *stream) elapsed(from int64) property {
	if st.sh.final != st || from == 0 || st.x.Record.End == 0 {
		return unknown
	}
	return nanos(st.x.Record.End - from)
}

// taken is the size of the request's body, and what comes to it: as far as the head says it, or all of it has come.
func (st *stream) taken(more int64) property {
	h := &st.request
	if st.sh.final == st {
		return intOf(more + st.x.Record.BytesIn)
	}
	if n := h.sized(); n >= 0 {
		return intOf(more + n)
	}
	if !st.at(h) && st.x.Uploading.Load() {
		return unknown
	}
	return intOf(more + st.x.Request.Body.Pulled())
}

// responseProperty is a response.*: from the moment that the guest may see the answer's fields.
func (st *stream) responseProperty(p *segments) property {
	sh, r, rec := st.sh, &st.x.Response, &st.x.Record
	f, _ := sh.fieldsOf(mapResponseHeaders)
	if f.h == nil || r.Status == 0 {
		return unknown
	}
	switch string(p.next()) {
	case "code":
		return intOf(int64(r.Status))
	case "code_details":
		return st.details()
	case "flags":
		return intOf(flagsOf(rec.Fault))
	case "grpc_status":
		return st.grpcStatus(&f)
	case "headers":
		return f.property(p)
	case "headers_bytes":
		_, size := f.measure()
		return intOf(int64(size))
	case "trailers":
		t, _ := sh.fieldsOf(mapResponseTrailers)
		return t.property(p)
	case "size":
		if sh.final == st {
			return intOf(rec.BytesOut)
		}
		if n := st.response.sized(); n >= 0 && !wire.Bodiless(r.Status) {
			return intOf(n)
		}
	case "total_size":
		if _, size := f.measure(); sh.final == st {
			return intOf(rec.BytesOut + int64(size))
		}
	case "backend_latency":
		if rec.UpstreamStart != 0 && rec.FirstByte > rec.UpstreamStart {
			return nanos(rec.FirstByte - rec.UpstreamStart)
		}
	}
	return unknown
}

// details says who made the answer, in Envoy's words where it has one for it.
func (st *stream) details() property {
	rec := &st.x.Record
	switch {
	case !st.x.Response.Local:
		return textOf(viaUpstream)
	case rec.Reason != "":
		return st.sh.string(rec.Reason)
	case rec.Fault != fault.None:
		return st.sh.string(rec.Fault.String())
	}
	return textOf(directResponse)
}

var viaUpstream, directResponse = []byte("via_upstream"), []byte("direct_response")

// flagsOf gives Envoy's response flags for what went wrong.
func flagsOf(k fault.Kind) int64 {
	switch k {
	case fault.NoEndpoint:
		return 0x2
	case fault.UpstreamTimeout:
		return 0x4
	case fault.ConnectFailed:
		return 0x20
	case fault.UpstreamReset, fault.ResponseTruncated:
		return 0x40
	case fault.UpstreamBusy, fault.BreakerOpen:
		return 0x80
	case fault.NoRoute:
		return 0x100
	case fault.LimitExceeded:
		return 0x800
	case fault.Unauthorized:
		return 0x1000
	case fault.ClientGone:
		return 0x4000
	case fault.RequestTimeout:
		return 0x10000
	case fault.BadRequest, fault.BodyTruncated, fault.HeaderTooLarge, fault.CodingUnknown, fault.VersionUnknown:
		return 0x40000
	case fault.ExchangeTimeout:
		return 0x400000
	case fault.BadResponse:
		return 0x800000
	case fault.Exhausted:
		return 0x2000000
	}
	return 0
}

// grpcStatus reads the status of an answer to gRPC: it stands in the trailers, or, where there is nothing else, in the header.
func (st *stream) grpcStatus(f *fields) property {
	t, _ := st.sh.fieldsOf(mapResponseTrailers)
	v, ok := t.get("grpc-status")
	if !ok {
		v, ok = f.get("grpc-status")
	}
	if n, valid := wire.ParseLength(v); ok && valid {
		return intOf(n)
	}
	return unknown
}

// connectionProperty is a connection.*.
func (st *stream) connectionProperty(p *segments) property {
	sh, c := st.sh, &st.x.Client
	s := c.TLS
	switch name := p.next(); string(name) {
	case "id":
		return number(c.Connection)
	case "mtls":
		return boolOf(s != nil && s.Peer != nil && s.Verified)
	case "requested_server_name":
		if s != nil {
			return sh.string(s.ServerName)
		}
	case "tls_version":
		if s != nil {
			return sh.string(tlsVersion(s.Version))
		}
	default:
		if s != nil && s.Peer != nil {
			return sh.certificate(name, s)
		}
	}
	return unknown
}

func tlsVersion(v uint16) string {
	switch v {
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return ""
}

// certificate is a property of the client's certificate.
func (sh *shard) certificate(name []byte, s *exchange.TLS) property {
	switch string(name) {
	case "subject_peer_certificate":
		return sh.string(s.Subject)
	case "uri_san_peer_certificate":
		return sh.string(s.URI)
	case "dns_san_peer_certificate":
		if len(s.Peer.DNSNames) > 0 {
			return sh.string(s.Peer.DNSNames[0])
		}
	case "sha256_peer_certificate_digest":
		sum := sha256.Sum256(s.Peer.Raw)
		sh.scratch = hex.AppendEncode(sh.scratch[:0], sum[:])
		return textOf(sh.scratch)
	case "peer_certificate":
		sh.scratch = appendPEM(sh.scratch[:0], s.Peer.Raw)
		return textOf(sh.scratch)
	}
	return unknown
}

// appendPEM writes a certificate as text (RFC 7468).
func appendPEM(dst, der []byte) []byte {
	dst = append(dst, "-----BEGIN CERTIFICATE-----\n"...)
	for len(der) > 0 {
		n := min(len(der), 48)
		dst = append(base64.StdEncoding.AppendEncode(dst, der[:n]), '\n')
		der = der[n:]
	}
	return append(dst, "-----END CERTIFICATE-----\n"...)
}

// endProperty is one end of the client's connection: source is the client as trusted proxies name it, and they name no port.
func (st *stream) endProperty(p *segments, source bool) property {
	c := &st.x.Client
	at := c.Local
	if source {
		if at = c.Peer; c.IP.IsValid() && c.IP != at.Addr() {
			at = netip.AddrPortFrom(c.IP, 0)
		}
	}
	if !at.IsValid() {
		return unknown
	}
	switch string(p.next()) {
	case "address":
		st.sh.scratch = at.AppendTo(st.sh.scratch[:0])
		return textOf(st.sh.scratch)
	case "port":
		return intOf(int64(at.Port()))
	}
	return unknown
}

// upstreamProperty is an upstream.*: once one has been asked.
func (st *stream) upstreamProperty(p *segments) property {
	if !st.settled() || st.x.Record.Endpoint == "" {
		return unknown
	}
	rec := &st.x.Record
	switch string(p.next()) {
	case "address":
		host, ip, port := cutEndpoint(rec.Endpoint)
		b := st.sh.scratch[:0]
		switch {
		case ip == "":
			b = append(b, host...)
		case strings.IndexByte(ip, ':') >= 0:
			b = append(append(append(append(b, '['), ip...), "]:"...), port...)
		default:
			b = append(append(append(b, ip...), ':'), port...)
		}
		st.sh.scratch = b
		return textOf(b)
	case "port":
		_, _, port := cutEndpoint(rec.Endpoint)
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			return intOf(int64(n))
		}
	case "request_attempt_count":
		return intOf(int64(rec.Tries))
	case "transport_failure_reason":
		if rec.Fault == fault.ConnectFailed {
			return st.sh.string(rec.Fault.String())
		}
	}
	return unknown
}

// cutEndpoint reads an endpoint's name: host:port, with the address in brackets where the host is a name.
func cutEndpoint(name string) (hostPort, ip, port string) {
	hostPort, ip, _ = strings.Cut(name, " (")
	if i := strings.LastIndexByte(hostPort, ':'); i >= 0 {
		port = hostPort[i+1:]
	}
	return hostPort, strings.TrimSuffix(ip, ")"), port
}

// identityProperty is weir's own: who asks, as a credential proved it.
func (st *stream) identityProperty(p *segments) property {
	sh, id := st.sh, st.x.Identity
	if id == nil {
		return unknown
	}
	switch string(p.next()) {
	case "subject":
		return sh.string(id.Subject)
	case "provider":
		return sh.string(id.Provider)
	case "tenant":
		return sh.string(id.Tenant)
	case "roles":
		return sh.list(id.Roles)
	case "scopes":
		return sh.list(id.Scopes)
	case "claims":
		if p.end() {
			return unknown
		}
		name := sh.dotted(p)
		if v, ok := id.Claim(name); ok {
			sh.scratch = append(sh.scratch[:0], v...)
			return textOf(sh.scratch)
		}
		if v, ok := id.ClaimList(name); ok {
			return sh.list(v)
		}
	}
	return unknown
}

// dotted takes the rest of a path as one name with dots, in sh.scratch.
func (sh *shard) dotted(p *segments) string {
	b := sh.scratch[:0]
	for !p.end() {
		if len(b) > 0 {
			b = append(b, '.')
		}
		b = append(b, p.next()...)
	}
	sh.scratch = b
	return abi.ViewString(b)
}
