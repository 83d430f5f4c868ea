package filters_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/coretest/alloc"
	"github.com/weirproxy/weir/filters"
)

// everything has every stage on; the log goes to a file.
const everything = `
version: 1
access_log: {output: access.log}
trusted_proxies: [10.0.0.0/8]
listeners: [{address: "127.0.0.1:0"}]
jwt:
  test: {issuer: test, audiences: [api], algorithms: [ES256], public_key: "${KEY}"}
wasm:
  tag: {file: tag.wasm, config: {header: x-tag, value: edge}}
upstreams:
  api:
    endpoints: ["http://${UPSTREAM}"]
    keepalive: {max_requests: 0}
    breaker: {consecutive_failures: 5, open_for: 5s, half_open_requests: 1}
    max_in_flight: 1000
routes:
  - name: all
    match: {host: "*.example.com", path: "/v1/{team}", methods: [GET]}
    auth: {jwt: test}
    require: {scopes: [api.read], claims: {team: "${path.team}"}}
    ip: {deny: [192.0.2.0/24]}
    limits:
      - {name: per-ip, key: ip, rate: 100000000/h}
      - {name: per-user, key: subject, rate: 100000000/h, burst: 1000000}
    WASM
    headers: {request: {set: {x-user-id: "${identity.subject}"}}, response: {preset: security}}
    strip_prefix: /v1
    upstream: api
`

// TestWholePathAllocatesNothing holds the whole pipeline to its promise, over real sockets, client and upstream in the
// same process: without a Wasm filter, and with one built by stock Go.
func TestWholePathAllocatesNothing(t *testing.T) {
	code, err := tagFilter()
	if err != nil {
		t.Fatalf("%v: %s", err, code)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.NewBuilder().Issuer("test").Audience([]string{"api"}).Subject("alice").Claim("scope", "api.read api.write").Claim("team", "a").
		Expiration(time.Now().Add(time.Hour)).Build()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := jwt.Sign(token, jwt.WithKey(jwa.ES256(), key))
	if err != nil {
		t.Fatal(err)
	}
	for name, use := range map[string]string{"native": "", "wasm": "wasm: [tag]"} {
		t.Run(name, func(t *testing.T) {
			up := coretest.StartStill(t, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Fri, 20 Nov 2026 10:00:00 GMT\r\nContent-Length: 12\r\n\r\nhello world\n")
			set := open(t, filters.Options{Open: func(string) ([]byte, error) { return code, nil }})
			r := coretest.Start(t, strings.Replace(everything, "WASM", use, 1), nil, coretest.Options{
				Kinds: set.Standard(),
				Env:   map[string]string{"UPSTREAM": up.Address(), "KEY": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))},
			})
			e := r.NewExchanger("GET /v1/a?b=c HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: test/1.0\r\nAccept: */*\r\nAuthorization: Bearer " + string(signed) + "\r\n\r\n")
			if first := e.First(); !strings.HasPrefix(first, "HTTP/1.1 200 ") || strings.Contains(first, "x-tag: edge") != (use != "") {
				t.Fatalf("answer:\n%s", first)
			}
			alloc.Floor(t, e.Run)
		})
	}
}
