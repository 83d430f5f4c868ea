package node_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/filters"
)

const mutual = `
version: 1
access_log: {output: stdout}
listeners:
  - {address: "127.0.0.1:0", tls: {certificates: [{cert: s.crt, key: s.key}], client_auth: {ca: clients.pem, mode: request}}}
jwt:
  own: {issuer: own, secret: {file: secret}, algorithms: [HS256]}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {name: mtls, match: {path: /mtls}, auth: {mtls: true}, upstream: api, headers: {request: {set: {x-user: "${identity.subject}", x-print: "${identity.claim.fingerprint}"}}}}
  - {name: one, match: {path: /one}, auth: {mtls: true}, require: {claims: {san: [spiffe://example.org/one]}}, upstream: api}
  - {name: any, match: {path: /any}, auth: {any: [{jwt: own}, {mtls: true}]}, upstream: api, headers: {request: {set: {x-user: "${identity.subject}"}}}}
  - {name: open, match: {path: /open}, auth: none, upstream: api}
`

func TestMutualTLS(t *testing.T) {
	ca, other := coretest.NewAuthority(t), coretest.NewAuthority(t)
	server := ca.Issue([]string{"s"}, nil, nil)
	set := filters.Open(filters.Options{})
	t.Cleanup(func() { _ = set.Close() }) // after the node
	r := coretest.Start(t, mutual, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Header.Get("X-User"), " ", len(r.Header.Get("X-Print")))
	}), coretest.Options{Kinds: set.Standard(), Files: map[string]string{"s.crt": server.Cert, "s.key": server.Key, "clients.pem": ca.PEM, "secret": hmacSecret}})
	spiffe := func(id string) func(*x509.Certificate) {
		u, err := url.Parse(id)
		if err != nil {
			t.Fatal(err)
		}
		return func(c *x509.Certificate) { c.URIs = []*url.URL{u} }
	}
	client := func(i *coretest.Issued) *http.Client {
		c := &tls.Config{ServerName: "s", RootCAs: ca.Pool()}
		if i != nil {
			pair := i.Pair(t)
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		transport := &http.Transport{TLSClientConfig: c}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	f := func(c *http.Client, path string, want int, body string, header ...string) {
		t.Helper()
		for range 2 { // the second over the same connection
			req, _ := http.NewRequest("GET", "https://"+r.Address+path, nil)
			for i := 0; i+1 < len(header); i += 2 {
				req.Header.Set(header[i], header[i+1])
			}
			answer, err := c.Do(req)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			got, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if answer.StatusCode != want || want == 200 && string(got) != body {
				t.Errorf("%s: %d %q, want %d %q", path, answer.StatusCode, got, want, body)
			}
		}
	}
	one := ca.Issue([]string{"one.example"}, nil, spiffe("spiffe://example.org/one"))
	two := ca.Issue([]string{"two.example"}, nil, func(c *x509.Certificate) { c.EmailAddresses = []string{"two@example.com"} })
	named := ca.Issue(nil, nil, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "Old Client"} })
	stranger := other.Issue(nil, nil, spiffe("spiffe://example.org/one"))

	// The subject is the URI, else the DNS name, else the e-mail address, else the common name. What a client writes itself is dropped.
	f(client(&one), "/mtls", 200, "spiffe://example.org/one 64", "X-User", "admin")
	f(client(&two), "/mtls", 200, "two.example 64")
	f(client(&named), "/mtls", 200, "Old Client 64")
	f(client(nil), "/mtls", 401, "")
	f(client(nil), "/open", 200, " 0")
	// Claims.
	f(client(&one), "/one", 200, " 0")
	f(client(&two), "/one", 403, "")
	// One of several: the first whose credential is there decides.
	token := "Bearer " + mintHS256(t, map[string]any{"iss": "own", "sub": "alice", "exp": 4e9})
	f(client(nil), "/any", 401, "")
	f(client(&two), "/any", 200, "two.example 0")
	f(client(nil), "/any", 200, "alice 0", "Authorization", token)
	f(client(&two), "/any", 200, "alice 0", "Authorization", token)
	f(client(&two), "/any", 401, "", "Authorization", "Bearer nonsense")
	// A resumed session is who it was.
	c := &tls.Config{ServerName: "s", Certificates: []tls.Certificate{one.Pair(t)}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for _, want := range []bool{false, true} {
		conn, err := dialTLS(r, c)
		if err != nil {
			t.Fatal(err)
		}
		k := coretest.NewClient(t, conn)
		k.Send("GET /mtls HTTP/1.1\r\nHost: s\r\n\r\n")
		if answer, body := k.Answer("GET"); answer.StatusCode != 200 || body != "spiffe://example.org/one 64" || conn.ConnectionState().DidResume != want {
			t.Errorf("%d %q, resumed %v", answer.StatusCode, body, conn.ConnectionState().DidResume)
		}
		k.Close()
	}
	// One that is sent must be valid, wherever it is going.
	if _, err := client(&stranger).Get("https://" + r.Address + "/open"); err == nil {
		t.Error("a stranger's certificate was taken")
	}
	coretest.Eventually(t, "refusals have a reason", func() bool { return strings.Contains(r.Access.String(), `"missing"`) })
}

// TestMutualTLSExpires: a connection may outlive the certificate that it was opened with; it proves nothing then.
func TestMutualTLSExpires(t *testing.T) {
	ca := coretest.NewAuthority(t)
	server := ca.Issue([]string{"s"}, nil, nil)
	r := coretest.Start(t, mutual, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		coretest.Options{Files: map[string]string{"s.crt": server.Cert, "s.key": server.Key, "clients.pem": ca.PEM, "secret": hmacSecret}})
	short := ca.Issue([]string{"short"}, nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(5 * time.Second) })
	c, err := dialTLS(r, &tls.Config{ServerName: "s", Certificates: []tls.Certificate{short.Pair(t)}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	k := coretest.NewClient(t, c)
	ask := func() int {
		k.Send("GET /mtls HTTP/1.1\r\nHost: s\r\n\r\n")
		answer, _ := k.Answer("GET")
		return answer.StatusCode
	}
	if got := ask(); got != 200 {
		t.Fatal(got)
	}
	coretest.Eventually(t, "it has expired", func() bool { return ask() == 401 })
}

// TestMutualTLSAskedForNowhere is an error at its place: no request could ever pass.
func TestMutualTLSAskedForNowhere(t *testing.T) {
	r := coretest.Start(t, plain, http.NotFoundHandler(), coretest.Options{})
	r.Write(strings.Replace(plain, "auth: none", "auth: {mtls: true}", 1))
	if err := r.Node.Reload(); err == nil || !strings.Contains(err.Error(), "routes[0].auth: no listener asks for a client's certificate") {
		t.Error(err)
	}
}
