package node_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
)

const secured = `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0", tls: {certificates: [{cert: s.crt, key: s.key}]%t}}]
admin: {address: "127.0.0.1:0"}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {name: all, match: {path: /*}, auth: none, upstream: api}
`

// admin asks the admin side.
func adminText(t *testing.T, r *coretest.Rig, path string) string {
	t.Helper()
	answer, err := http.Get("http://" + r.Node.AdminAddr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCertificateRotates replaces the pair a hundred times under handshakes and requests: none fails, and a connection
// that was open before is open after.
func TestCertificateRotates(t *testing.T) {
	ca := coretest.NewAuthority(t)
	first := ca.Issue([]string{"s"}, nil, nil)
	r := coretest.Start(t, strings.Replace(secured, "%t", "", 1), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }),
		coretest.Options{Files: map[string]string{"s.crt": first.Cert, "s.key": first.Key}})
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(filepath.Dir(r.File), name)
		if err := os.WriteFile(path+".next", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".next", path); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := dialTLS(r, &tls.Config{ServerName: "s"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	old := coretest.NewClient(t, conn)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	requests := 0
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			c, err := tls.Dial("tcp", r.Address, &tls.Config{ServerName: "s", RootCAs: ca.Pool()})
			if err != nil {
				t.Errorf("a handshake failed: %v", err)
				return
			}
			k := coretest.NewClient(t, c)
			k.Send("GET / HTTP/1.1\r\nHost: s\r\n\r\n")
			if answer, body := k.Answer("GET"); answer.StatusCode != 200 || body != "ok" {
				t.Errorf("%d %q", answer.StatusCode, body)
			}
			c.Close()
			requests++
		}
	})
	var last coretest.Issued
	for i := range 100 {
		last = ca.Issue([]string{"s"}, nil, nil)
		if i%2 == 0 {
			write("s.key", last.Key)
			write("s.crt", last.Cert)
		} else {
			write("s.crt", last.Cert)
			write("s.key", last.Key)
		}
		if i%10 == 9 {
			if err := r.Node.Reload(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Millisecond) // about a second and a half in all: some are seen half, some not at all
	}
	want := last.Pair(t).Leaf.SerialNumber
	coretest.Eventually(t, "the last one is served", func() bool {
		c, err := dialTLS(r, &tls.Config{ServerName: "s"})
		if err != nil {
			return false
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Cmp(want) == 0
	})
	close(stop)
	wg.Wait()
	t.Logf("%d connections, none failed", requests)
	old.Send("GET / HTTP/1.1\r\nHost: s\r\n\r\n")
	if answer, body := old.Answer("GET"); answer.StatusCode != 200 || body != "ok" {
		t.Errorf("%d %q", answer.StatusCode, body)
	}
	var list []struct {
		Names    []string
		NotAfter time.Time `json:"not_after"`
		File     string
		Source   string
		Error    string
	}
	if err := json.Unmarshal([]byte(adminText(t, r, "/certificates")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || len(list[0].Names) != 1 || list[0].Names[0] != "s" || list[0].Source != "file" || list[0].Error != "" ||
		filepath.Base(list[0].File) != "s.crt" || !list[0].NotAfter.Equal(last.Pair(t).Leaf.NotAfter) {
		t.Errorf("%+v", list)
	}
	if m := string(r.Node.Metrics()); !strings.Contains(m, "weir_certificate_not_after_timestamp_seconds{certificate=") {
		t.Error(m)
	}
}

// TestSessionsOutliveReloads, also one that changes what TLS is made of.
func TestSessionsOutliveReloads(t *testing.T) {
	ca := coretest.NewAuthority(t)
	s, more := ca.Issue([]string{"s"}, nil, nil), ca.Issue([]string{"m"}, nil, nil)
	yaml := func(more string) string { return strings.Replace(secured, "%t", more, 1) }
	r := coretest.Start(t, yaml(""), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		coretest.Options{Files: map[string]string{"s.crt": s.Cert, "s.key": s.Key, "m.crt": more.Cert, "m.key": more.Key, "keys": strings.Repeat("ab", 32)}})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		mustReload(t, r, yaml(""))
		c := &tls.Config{ServerName: "s", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
		visit := func() bool {
			t.Helper()
			conn, err := dialTLS(r, c)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			k := coretest.NewClient(t, conn)
			k.Send("GET / HTTP/1.1\r\nHost: s\r\n\r\n") // tickets come with the first answer
			k.Answer("GET")
			return conn.ConnectionState().DidResume
		}
		if visit() || !visit() {
			t.Errorf("version %x: sessions are not resumed at all", version)
		}
		mustReload(t, r, yaml(""))
		if !visit() {
			t.Errorf("version %x: a reload lost the session", version)
		}
		mustReload(t, r, strings.Replace(yaml(`, min_version: "1.2"`), "certificates: [", "certificates: [{cert: m.crt, key: m.key}, ", 1))
		if !visit() {
			t.Errorf("version %x: another certificate lost the session", version)
		}
		mustReload(t, r, yaml(", ticket_keys: {file: keys}"))
		if visit() {
			t.Errorf("version %x: resumed by keys that are no longer used", version)
		}
	}
	for _, bad := range []string{", ticket_keys: {file: none}", ", client_auth: {ca: none}", ", client_auth: {ca: keys}"} {
		r.Write(yaml(bad))
		if err := r.Node.Reload(); err == nil || !strings.Contains(err.Error(), "listeners[0].tls.") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestHandshakeTime: who does not shake hands is let go.
func TestHandshakeTime(t *testing.T) {
	ca := coretest.NewAuthority(t)
	s := ca.Issue([]string{"s"}, nil, nil)
	r := coretest.Start(t, strings.Replace(secured, "%t", "", 1), http.NotFoundHandler(),
		coretest.Options{Files: map[string]string{"s.crt": s.Cert, "s.key": s.Key}})
	began := time.Now()
	slow := r.Client()
	slow.Send("\x16\x03\x01\x02\x00\x01") // the first bytes of a ClientHello
	_, _ = slow.Rest()
	if took := time.Since(began); took < 4*time.Second || took > 5*time.Second+soon {
		t.Errorf("let go after %s, not 5 s", took)
	}
}

const issuedYAML = `
version: 1
access_log: {output: "off"}
state_dir: state
listeners:
  - {address: "%h"}
  - {address: "%s", tls: {acme: {email: ops@example.com, domains: [a.example, b.example], directory: "%d", ca: acme-ca.pem}}}
admin: {address: "127.0.0.1:0"}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {name: all, match: {path: /*}, auth: none, upstream: api}
`

// TestIssuesByHTTP has an authority that asks on the plain listener only and refuses some nonces; it comes after the node.
func TestIssuesByHTTP(t *testing.T) {
	p := coretest.NewPebble(t)
	plainAt, secureAt := coretest.FreePort(t), coretest.FreePort(t)
	yaml := strings.NewReplacer("%h", plainAt, "%s", secureAt, "%d", p.Directory).Replace(issuedYAML)
	one := strings.Replace(yaml, "a.example, b.example", "a.example", 1)
	r := coretest.Start(t, one, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, "upstream ", r.URL.Path) }),
		coretest.Options{Files: map[string]string{"acme-ca.pem": p.CA}})
	asks := func(domain string) {
		t.Helper()
		coretest.Eventually(t, "a certificate is asked for", func() bool { return strings.Contains(r.Log.String(), `"domain":"`+domain+`","retry_in"`) })
	}
	asks("a.example")
	mustReload(t, r, yaml)
	asks("b.example")
	// The node is ready, and says what it waits for.
	if got := adminText(t, r, "/health/ready"); !strings.Contains(got, `"status":"ready"`) || !strings.Contains(got, "waits for a certificate: a.example, b.example") {
		t.Error(got)
	}
	if got := adminText(t, r, "/certificates"); strings.Count(got, `"not_after": null`) != 2 || strings.Count(got, `"source": "acme"`) != 2 {
		t.Error(got)
	}
	if _, err := tls.Dial("tcp", secureAt, &tls.Config{ServerName: "a.example"}); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Error(err)
	}
	_, text, _ := net.SplitHostPort(plainAt)
	port, _ := strconv.Atoi(text)
	p.Start(coretest.PebbleOptions{HTTPPort: port, Nonces: true})
	roots := p.Roots()
	for _, name := range []string{"a.example", "b.example"} {
		end := time.Now().Add(90 * time.Second)
		for {
			c, err := tls.Dial("tcp", secureAt, &tls.Config{ServerName: name, RootCAs: roots})
			if err == nil {
				c.Close()
				break
			}
			if time.Now().After(end) {
				t.Fatalf("no certificate for %s: %v\n%s\n%s", name, err, r.Log, p.Log.String())
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	if got := adminText(t, r, "/health/ready"); strings.Contains(got, "waits") {
		t.Error(got)
	}
	if strings.Contains(r.Log.String(), `"logger":"obtain"`) {
		t.Errorf("failures are told twice:\n%s", r.Log)
	}
	if n := strings.Count(p.Log.String(), "validate w/ HTTP"); n == 0 {
		t.Errorf("not by HTTP:\n%s", p.Log.String())
	}
	// A reload keeps the manager, and asks for nothing.
	before := strings.Count(p.Log.String(), "POST /order-plz")
	mustReload(t, r, yaml)
	mustReload(t, r, strings.Replace(yaml, "name: all", "name: other", 1))
	if n := strings.Count(p.Log.String(), "POST /order-plz"); n != before || before == 0 {
		t.Errorf("%d orders, %d before the reloads", n, before)
	}
	// What is not ours goes to the routes.
	if _, _, body := r.Get("/.well-known/acme-challenge/unknown"); body != "upstream /.well-known/acme-challenge/unknown" {
		t.Errorf("%q", body)
	}
	// Nobody but the owner can read what is kept.
	err := filepath.WalkDir(filepath.Join(filepath.Dir(r.File), "state", "acme"), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := d.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
