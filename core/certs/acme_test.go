package certs_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/certs"
	"github.com/weirproxy/weir/core/coretest"
)

// issued opens a listener whose certificate for a.example is issued by p.
func (r *rig) issued(p *coretest.Pebble, o certs.ACMEOptions) (address string, port int) {
	r.t.Helper()
	r.write("acme-ca.pem", p.CA)
	o.Domains, o.Email, o.Directory = []string{"a.example"}, "ops@example.com", p.Directory
	o.CA, o.Dir, o.TLS = r.path("acme-ca.pem"), r.path("acme"), true
	a, err := r.OpenACME(o)
	if err != nil {
		r.t.Fatal(err)
	}
	address, _ = r.listen(certs.ListenerOptions{ACME: a, Protocols: []string{"http/1.1"}})
	_, text, _ := net.SplitHostPort(address)
	port, _ = strconv.Atoi(text)
	return address, port
}

func within(t *testing.T, most time.Duration, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(most); !f(); {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", most, what)
		}
	}
}

// TestRenews: a short-lived certificate is renewed again and again, under handshakes of which none fails.
func TestRenews(t *testing.T) {
	r := newRig(t)
	p := coretest.NewPebble(t)
	address, port := r.issued(p, certs.ACMEOptions{RenewCheck: 200 * time.Millisecond, RenewAt: 0.8})
	p.Start(coretest.PebbleOptions{TLSPort: port, Validity: 20 * time.Second})
	served := func() string { s, _ := serial(address, "a.example"); return s }
	within(t, 40*time.Second, "a certificate", func() bool { return served() != "" })
	stop := hammer(t, address, &tls.Config{ServerName: "a.example", RootCAs: p.Roots()})
	for range 3 {
		last := served()
		within(t, 40*time.Second, "another certificate", func() bool { s := served(); return s != "" && s != last })
	}
	stop()
	if r.List()[0].Error != "" {
		t.Errorf("%+v", r.List())
	}
}

// TestAuthorityIsGone: the listener is up before there is an authority, says clearly that it has no certificate, and has
// one soon after the authority is there. A restart needs none.
func TestAuthorityIsGone(t *testing.T) {
	p := coretest.NewPebble(t)
	dir := t.TempDir() + "/acme"
	t.Run("start", func(t *testing.T) {
		r := newRig(t)
		address, port := r.issued(p, certs.ACMEOptions{})
		if _, err := dial(address, &tls.Config{ServerName: "a.example"}); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Error(err)
		}
		if got := r.Waiting(); len(got) != 1 || got[0] != "a.example" {
			t.Error(got)
		}
		r.eventually("it is told", func() bool {
			l := r.List()
			return len(l) == 1 && l[0].Source == certs.SourceACME && l[0].Domain == "a.example" && strings.Contains(l[0].Error, "connection refused")
		})
		stop := p.Start(coretest.PebbleOptions{TLSPort: port, Nonces: true})
		roots := p.Roots()
		within(t, 40*time.Second, "a certificate", func() bool {
			_, err := dial(address, &tls.Config{ServerName: "a.example", RootCAs: roots})
			return err == nil
		})
		r.eventually("it is told, and nothing is missing any more", func() bool {
			return len(r.Waiting()) == 0 && r.List()[0].Error == "" &&
				strings.Contains(r.log.String(), `"domain":"a.example","renewal":false,"message":"certificate issued"`)
		})
		stop()
		// Who asks for a proof that nobody wants gets none, and no certificate either.
		if _, err := dial(address, &tls.Config{ServerName: "a.example", NextProtos: []string{certs.Challenge}, InsecureSkipVerify: true}); err == nil {
			t.Error("a handshake for a proof that is not asked for")
		}
		if err := os.CopyFS(dir, os.DirFS(r.path("acme"))); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("restart", func(t *testing.T) {
		r := newRig(t)
		if err := os.Rename(dir, r.path("acme")); err != nil {
			t.Fatal(err)
		}
		address, _ := r.issued(p, certs.ACMEOptions{})
		if s, err := serial(address, "a.example"); err != nil {
			t.Error(s, err)
		}
	})
}

// TestCheckAsksNobody: what is opened and not begun asks for nothing and leaves nothing behind.
func TestCheckAsksNobody(t *testing.T) {
	r := newRig(t)
	a, err := r.OpenACME(certs.ACMEOptions{Domains: []string{"a.example"}, Directory: "https://127.0.0.1:1/dir", Dir: r.path("acme"), TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := r.OpenTickets("x", r.path("keys"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	l := r.OpenListener(certs.ListenerOptions{ACME: a, Tickets: keys})
	// Two looks later, for that is when another file has been taken.
	ca := coretest.NewAuthority(t)
	defer r.pair("x", ca.Issue([]string{"x"}, nil, nil)).Close()
	next := ca.Issue([]string{"y"}, nil, nil)
	r.write("x.crt", next.Cert)
	r.write("x.key", next.Key)
	r.eventually("files are looked at", func() bool { return strings.Contains(fmt.Sprint(r.List()), "[y]") })
	for _, name := range []string{"x.crt", "x.key"} {
		if err := os.Remove(r.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	if all, err := os.ReadDir(r.dir); err != nil || len(all) != 0 {
		t.Error(all, err)
	}
	if _, err := r.OpenACME(certs.ACMEOptions{Domains: []string{"a.example"}, Dir: r.path("acme"), CA: r.path("none")}); err == nil {
		t.Error("roots that are not there were opened")
	}
}

// TestWaitingName: a name that will have a certificate is not served another's.
func TestWaitingName(t *testing.T) {
	r := newRig(t)
	ca := coretest.NewAuthority(t)
	a, err := r.OpenACME(certs.ACMEOptions{Domains: []string{"a.example"}, Directory: "https://127.0.0.1:1/dir", Dir: r.path("acme"), TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	address, _ := r.listen(certs.ListenerOptions{ACME: a, Pairs: []*certs.Pair{r.pair("b", ca.Issue([]string{"b.example", "*.example"}, nil, nil))}})
	for name, want := range map[string]bool{"a.example": false, "b.example": true, "c.example": true, "other": true} {
		if _, err := serial(address, name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
