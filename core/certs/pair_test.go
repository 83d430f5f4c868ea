package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/certs"
	"github.com/weirproxy/weir/core/coretest"
)

func TestChoosesBySNI(t *testing.T) {
	r := newRig(t)
	ca := coretest.NewAuthority(t)
	all := map[string]coretest.Issued{
		"first": ca.Issue([]string{"first.example"}, nil, nil),
		"exact": ca.Issue([]string{"api.example.com", "b.example.com"}, nil, nil),
		"wild":  ca.Issue([]string{"*.example.com"}, nil, nil),
		"rsa":   ca.Issue([]string{"pair.example"}, coretest.RSAKey(t, 2048), nil),
		"ecdsa": ca.Issue([]string{"Pair.example"}, nil, nil),
	}
	var pairs []*certs.Pair
	for _, name := range []string{"first", "wild", "exact", "rsa", "ecdsa"} {
		pairs = append(pairs, r.pair(name, all[name]))
	}
	address, _ := r.listen(certs.ListenerOptions{Pairs: pairs})
	f := func(name string, c *tls.Config, want string) {
		t.Helper()
		c.ServerName, c.InsecureSkipVerify = name, true
		s, err := dial(address, c)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			return
		}
		if got := s.PeerCertificates[0].SerialNumber.String(); got != serialOf(t, all[want]) {
			t.Errorf("%q is not served %s", name, want)
		}
	}
	f("first.example", &tls.Config{}, "first")
	// An exact name beats a wildcard, wherever it stands.
	f("api.example.com", &tls.Config{}, "exact")
	f("B.EXAMPLE.com", &tls.Config{}, "exact")
	f("c.example.com", &tls.Config{}, "wild")
	// A wildcard is one label.
	f("a.c.example.com", &tls.Config{}, "first")
	f("example.com", &tls.Config{}, "first")
	f("unknown.example", &tls.Config{}, "first")
	f("", &tls.Config{}, "first")
	// Two keys of one name: as the client can.
	f("pair.example", &tls.Config{}, "ecdsa")
	f("pair.example", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}, "rsa")
	f("pair.example", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}, "ecdsa")
}

func TestOpenPairErrors(t *testing.T) {
	r := newRig(t)
	ca := coretest.NewAuthority(t)
	a, b := ca.Issue([]string{"a"}, nil, nil), ca.Issue([]string{"b"}, nil, nil)
	f := func(cert, key, want string) {
		t.Helper()
		for name, text := range map[string]string{"x.crt": cert, "x.key": key} {
			_ = os.Remove(r.path(name))
			if text != "" {
				r.write(name, text)
			}
		}
		_, err := r.OpenPair(r.path("x.crt"), r.path("x.key"))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), r.path("x.crt")) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("", a.Key, "no such file")
	f(a.Cert, "", "no such file")
	f(a.Cert, b.Key, "private key does not match public key")
	f(a.Cert, "nonsense", "failed to find any PEM data in key input")
	f(a.Cert+ca.PEM[:len(ca.PEM)/2], a.Key, "cut short")
	if err := os.Mkdir(r.path("d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := r.OpenPair(r.path("d"), r.path("x.key")); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
	if text := string(r.metrics.AppendText(nil)); text != "" {
		t.Errorf("series of nothing:\n%s", text)
	}
}

// TestWarnings: what is usable is used.
func TestWarnings(t *testing.T) {
	r := newRig(t)
	ca := coretest.NewAuthority(t)
	f := func(name string, notAfter time.Duration, mode os.FileMode, want ...string) {
		t.Helper()
		before := len(r.log.String())
		i := ca.Issue([]string{name}, nil, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-24*time.Hour), time.Now().Add(notAfter)
		})
		r.write(name+".crt", i.Cert)
		r.write(name+".key", i.Key)
		if err := os.Chmod(r.path(name+".key"), mode); err != nil {
			t.Fatal(err)
		}
		p, err := r.OpenPair(r.path(name+".crt"), r.path(name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		got := r.log.String()[before:]
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %s in %q", name, w, got)
			}
		}
		if len(want) == 0 && got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	f("fine", 24*time.Hour, 0o600)
	f("soon", time.Hour, 0o600, `"expired":false`)
	f("late", -time.Hour, 0o600, `"expired":true`)
	f("open", 24*time.Hour, 0o640, "others than its owner")
	f("world", 24*time.Hour, 0o604, "others than its owner")
}

// TestSwap changes files in every way that tools do, under handshakes: none fails, none is served half a pair, and the new
// pair is served when it is whole.
func TestSwap(t *testing.T) {
	r := newRig(t)
	ca := coretest.NewAuthority(t)
	next := func() coretest.Issued { return ca.Issue([]string{"a.example"}, nil, nil) }
	old := next()
	address, _ := r.listen(certs.ListenerOptions{Pairs: []*certs.Pair{r.pair("a", old)}})
	stop := hammer(t, address, &tls.Config{ServerName: "a.example", RootCAs: ca.Pool()})
	served := func() string { s, _ := serial(address, "a.example"); return s }
	taken := func(i coretest.Issued, how string) {
		t.Helper()
		r.eventually(how+" is taken", func() bool { return served() == serialOf(t, i) })
		old = i
	}
	refused := func(how string) {
		t.Helper()
		r.eventually(how+" is noticed", func() bool { return r.List()[0].Error != "" })
		if served() != serialOf(t, old) {
			t.Errorf("%s: the old pair is gone", how)
		}
	}
	// One file, then the other.
	a := next()
	r.write("a.crt", a.Cert)
	refused("a certificate without its key")
	r.write("a.key", a.Key)
	taken(a, "certificate, then key")
	a = next()
	r.write("a.key", a.Key)
	refused("a key without its certificate")
	r.write("a.crt", a.Cert)
	taken(a, "key, then certificate")
	// In place, byte by byte.
	a = next()
	for name, text := range map[string]string{"a.crt": a.Cert, "a.key": a.Key} {
		f, err := os.Create(r.path(name))
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(text) {
			_, _ = f.WriteString(text[i : i+1])
		}
		f.Close()
	}
	taken(a, "a slow writer's pair")
	// Empty for a while.
	for _, name := range []string{"a.crt", "a.key"} {
		if err := os.Truncate(r.path(name), 0); err != nil {
			t.Fatal(err)
		}
	}
	refused("an empty pair")
	// Gone, and back.
	for _, name := range []string{"a.crt", "a.key"} {
		if err := os.Remove(r.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	refused("a pair that is gone")
	a = next()
	r.write("a.key", a.Key)
	r.write("a.crt", a.Cert)
	taken(a, "a pair that is back")
	// As it was: nothing is wrong any more.
	r.write("a.crt", next().Cert)
	refused("a strange certificate")
	r.write("a.crt", a.Cert)
	r.eventually("nothing is wrong", func() bool { return r.List()[0].Error == "" })
	stop()
}

// TestSwapByLink is how Kubernetes mounts a secret: files are links into ..data, which is a link to a folder.
func TestSwapByLink(t *testing.T) {
	r := newRig(t)
	ca := coretest.NewAuthority(t)
	place := func(n int, i coretest.Issued) {
		t.Helper()
		dir := fmt.Sprintf("..%d", n)
		if err := os.Mkdir(r.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"tls.crt": i.Cert, "tls.key": i.Key} {
			if err := os.WriteFile(r.path(dir+"/"+name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(dir, r.path("..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(r.path("..tmp"), r.path("..data")); err != nil {
			t.Fatal(err)
		}
		if n > 1 {
			if err := os.RemoveAll(r.path(fmt.Sprintf("..%d", n-1))); err != nil {
				t.Fatal(err)
			}
		}
	}
	i := ca.Issue([]string{"a"}, nil, nil)
	place(1, i)
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink("..data/"+name, r.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	p, err := r.OpenPair(r.path("tls.crt"), r.path("tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	address, _ := r.listen(certs.ListenerOptions{Pairs: []*certs.Pair{p}})
	stop := hammer(t, address, &tls.Config{ServerName: "a", RootCAs: ca.Pool()})
	for n := 2; n < 102; n++ {
		i = ca.Issue([]string{"a"}, nil, nil)
		place(n, i)
		if n%10 == 0 {
			r.eventually("the last is taken", func() bool { s, _ := serial(address, "a"); return s == serialOf(t, i) })
		}
	}
	stop()
	if strings.Contains(r.log.String(), "not usable") {
		t.Errorf("a swap in one step was complained about:\n%s", r.log)
	}
}

// TestBrokenIsToldOnce: once a content, in the log, in the metrics and in the list.
func TestBrokenIsToldOnce(t *testing.T) {
	r := newRig(t)
	ca := coretest.NewAuthority(t)
	a := ca.Issue([]string{"a"}, nil, nil)
	address, _ := r.listen(certs.ListenerOptions{Pairs: []*certs.Pair{r.pair("a", a)}})
	notAfter := fmt.Sprintf(`weir_certificate_not_after_timestamp_seconds{certificate=%q} %g`, r.path("a.crt"), float64(a.Pair(t).Leaf.NotAfter.Unix()))
	if !r.has(notAfter) {
		t.Errorf("no %s in\n%s", notAfter, r.metrics.AppendText(nil))
	}
	told := func() int { return strings.Count(r.log.String(), "not usable") }
	counted := func(n int) bool {
		return r.has(fmt.Sprintf(`weir_certificate_errors_total{file=%q} %d`, r.path("a.crt"), n))
	}
	r.write("a.crt", "nonsense")
	r.eventually("told", func() bool { return told() == 1 && counted(1) })
	// The same again, by another file: known.
	for range 20 {
		r.write("a.crt", "nonsense")
		if _, err := serial(address, "a"); err != nil {
			t.Fatal(err)
		}
	}
	r.write("a.crt", "other nonsense")
	r.eventually("told again", func() bool { return told() == 2 && counted(2) })
	// An expired one is worse than what there is, until that has expired too.
	old := ca.Issue([]string{"a"}, nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	r.write("a.crt", old.Cert)
	r.write("a.key", old.Key)
	r.eventually("an expired one is refused", func() bool { return strings.Contains(r.List()[0].Error, "it expired at") })
	early := ca.Issue([]string{"a"}, nil, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	r.write("a.crt", early.Cert)
	r.write("a.key", early.Key)
	r.eventually("one of tomorrow is refused", func() bool { return strings.Contains(r.List()[0].Error, "it is not valid before") })
	if s, _ := serial(address, "a"); s != serialOf(t, a) {
		t.Error("the old one is gone")
	}
	if told() > 5 {
		t.Errorf("told %d times", told())
	}
}

// TestShares: what two have open is one, and goes with the last.
func TestShares(t *testing.T) {
	r := newRig(t)
	ca := coretest.NewAuthority(t)
	a := ca.Issue([]string{"a"}, nil, nil)
	p, q := r.pair("a", a), r.pair("a", a)
	if p != q || len(r.List()) != 1 {
		t.Error("two of one")
	}
	p.Close()
	if got := r.List(); len(got) != 1 || got[0].Source != certs.SourceFile || got[0].File != r.path("a.crt") || got[0].Names[0] != "a" {
		t.Errorf("%+v", got)
	}
	// Opening reads: what is new is taken at once, what is broken is an error and changes nothing.
	b := ca.Issue([]string{"b"}, nil, nil)
	r.pair("a", b).Close()
	if got := r.List(); got[0].Names[0] != "b" {
		t.Errorf("%+v", got)
	}
	r.write("a.key", a.Key)
	if _, err := r.OpenPair(r.path("a.crt"), r.path("a.key")); err == nil {
		t.Error("a broken pair was opened")
	}
	if got := r.List(); len(got) != 1 || got[0].Names[0] != "b" {
		t.Errorf("%+v", got)
	}
	q.Close()
	if len(r.List()) != 0 || string(r.metrics.AppendText(nil)) != "" {
		t.Errorf("%+v\n%s", r.List(), r.metrics.AppendText(nil))
	}
}

// TestSwapAheadOfTime: a pair that is not valid yet is taken when it is, without a word from anybody.
func TestSwapAheadOfTime(t *testing.T) {
	r := newRig(t)
	ca := coretest.NewAuthority(t)
	old := ca.Issue([]string{"a.example"}, nil, nil)
	address, _ := r.listen(certs.ListenerOptions{Pairs: []*certs.Pair{r.pair("a", old)}})
	next := ca.Issue([]string{"a.example"}, nil, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(2 * time.Second) })
	r.write("a.crt", next.Cert)
	r.write("a.key", next.Key)
	r.eventually("it is noticed", func() bool { return strings.Contains(r.List()[0].Error, "not valid before") })
	if s, _ := serial(address, "a.example"); s != serialOf(t, old) {
		t.Error("the old pair is gone")
	}
	r.eventually("it is taken", func() bool {
		s, _ := serial(address, "a.example")
		return s == serialOf(t, next) && r.List()[0].Error == ""
	})
	if n := strings.Count(r.log.String(), "not valid before"); n != 1 {
		t.Errorf("told %d times:\n%s", n, r.log.String())
	}
}
