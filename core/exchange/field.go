package exchange

// ID marks the field names that weir itself reads or guards; every other name is Other. It is found once, when a field
// enters a Header, so that later passes compare a byte and no string.
type ID uint8

const (
	Other ID = iota
	Accept
	Authorization
	Connection
	ContentEncoding
	ContentLength
	ContentType
	Cookie
	Date
	Expect
	Forwarded
	Host
	HTTP2Settings
	KeepAlive
	MaxForwards
	Origin
	ProxyAuthorization
	ProxyConnection
	RetryAfter
	Server
	SetCookie
	TE
	Trailer
	TransferEncoding
	Upgrade
	UserAgent
	Via
	XForwardedFor
	XForwardedHost
	XForwardedPort
	XForwardedProto
	XRealIP
	XRequestID
)

var names = [...]string{
	Accept: "accept", Authorization: "authorization", Connection: "connection", ContentEncoding: "content-encoding",
	ContentLength: "content-length", ContentType: "content-type", Cookie: "cookie", Date: "date", Expect: "expect",
	Forwarded: "forwarded", Host: "host", HTTP2Settings: "http2-settings", KeepAlive: "keep-alive",
	MaxForwards: "max-forwards", Origin: "origin", ProxyAuthorization: "proxy-authorization",
	ProxyConnection: "proxy-connection", RetryAfter: "retry-after", Server: "server", SetCookie: "set-cookie", TE: "te",
	Trailer: "trailer", TransferEncoding: "transfer-encoding", Upgrade: "upgrade", UserAgent: "user-agent", Via: "via",
	XForwardedFor: "x-forwarded-for", XForwardedHost: "x-forwarded-host", XForwardedPort: "x-forwarded-port",
	XForwardedProto: "x-forwarded-proto", XRealIP: "x-real-ip", XRequestID: "x-request-id",
}

// byLength lists the known names of each length; at most four share one.
var byLength = func() (t [24][]ID) {
	for id, name := range names {
		if name != "" {
			t[len(name)] = append(t[len(name)], ID(id))
		}
	}
	return t
}()

// Identify finds the ID of a field name in any case.
func Identify(name []byte) ID {
	if len(name) >= len(byLength) {
		return Other
	}
	for _, id := range byLength[len(name)] {
		if EqualFold(name, names[id]) {
			return id
		}
	}
	return Other
}

// EqualFold compares an ASCII name in any case with a lower-case one.
func EqualFold(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c-'A' < 26 {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// HopByHop reports whether id is a field that ends at this hop (RFC 9110 §7.6.1) or that weir frames itself.
func (id ID) HopByHop() bool {
	switch id {
	case Connection, KeepAlive, ProxyConnection, ProxyAuthorization, TE, Trailer, TransferEncoding, Upgrade, HTTP2Settings, ContentLength:
		return true
	}
	return false
}
