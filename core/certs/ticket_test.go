package certs_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/certs"
	"github.com/weirproxy/weir/core/coretest"
)

func TestTicketFormats(t *testing.T) {
	r := newRig(t)
	a, b := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{200}, 32)
	f := func(text, wrong string) {
		t.Helper()
		r.write("keys", text)
		k, err := r.OpenTickets("x", r.path("keys"), 0)
		switch {
		case wrong == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)):
			t.Errorf("%q: %v, want %q", text, err, wrong)
		}
		if err == nil {
			k.Close()
		}
	}
	f(base64.StdEncoding.EncodeToString(a), "")
	f(base64.StdEncoding.EncodeToString(a)+"\r\n\n"+hex.EncodeToString(b)+"\n", "")
	// Sixty-four characters are one key in hex, not two raw ones.
	f(hex.EncodeToString(a), "")
	f(string(a), "")
	f(string(a)+string(b), "")
	f(string(a)+"x", "33 bytes are no keys of 32")
	f("", "0 bytes are no keys of 32")
	f(hex.EncodeToString(a)+"\nabc\n", "line 2 is not a key of 32 bytes")
	f(base64.StdEncoding.EncodeToString(a[:16]), "line 1 is not a key of 32 bytes")
	if _, err := r.OpenTickets("x", r.path("none"), 0); err == nil {
		t.Error("a file that is not there was opened")
	}
}

// node is a listener with keys from a file, and a client that has been there.
func (r *rig) node(server coretest.Issued, file string, rotate time.Duration) string {
	r.t.Helper()
	keys, err := r.OpenTickets("x", file, rotate)
	if err != nil {
		r.t.Fatal(err)
	}
	address, _ := r.listen(certs.ListenerOptions{Pairs: []*certs.Pair{r.pair("s", server)}, Tickets: keys})
	return address
}

// TestTicketsAreShared: sessions begun at one node are resumed at another, before a rotation and after it.
func TestTicketsAreShared(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		one, two := newRig(t), newRig(t)
		ca := coretest.NewAuthority(t)
		server := ca.Issue([]string{"s"}, nil, nil)
		file := one.path("keys")
		one.write("keys", strings.Repeat("00", 32)+"\n")
		a, b := one.node(server, file, time.Hour), two.node(server, file, time.Hour)
		fresh := func() *tls.Config {
			return &tls.Config{ServerName: "s", RootCAs: ca.Pool(), MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
		}
		visit := func(c *tls.Config, address string) bool {
			t.Helper()
			s, err := dial(address, c)
			if err != nil {
				t.Fatal(err)
			}
			return s.DidResume
		}
		c := fresh()
		if visit(c, a) || !visit(c, b) || !visit(c, a) {
			t.Errorf("version %x: not resumed at the other node", version)
		}
		// The key is old: one of the two makes a new one.
		past := time.Now().Add(-2 * time.Hour)
		if err := os.Chtimes(file, past, past); err != nil {
			t.Fatal(err)
		}
		taken := func(r *rig) bool { return strings.Contains(r.log.String(), `"keys":2,"message":"ticket keys taken"`) }
		one.eventually("both have the new key", func() bool { return taken(one) && taken(two) })
		if !visit(c, b) || !visit(c, a) {
			t.Errorf("version %x: an old session is not resumed after the rotation", version)
		}
		c = fresh()
		if visit(c, b) || !visit(c, a) || !visit(c, b) {
			t.Errorf("version %x: a new session is not resumed after the rotation", version)
		}
		data, err := os.ReadFile(file)
		if info, _ := os.Stat(file); err != nil || bytes.Count(data, []byte("\n")) != 2 || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v %q", err, info.Mode(), data)
		}
		if old := base64.StdEncoding.EncodeToString(make([]byte, 32)); !strings.HasSuffix(string(data), "\n"+old+"\n") {
			t.Errorf("the old key is not second: %q", data)
		}
	}
}

// TestTicketsRotate: a missing file is made, three keys are kept, and what is not ours is left alone.
func TestTicketsRotate(t *testing.T) {
	r := newRig(t)
	ca := coretest.NewAuthority(t)
	server := ca.Issue([]string{"s"}, nil, nil)
	file := r.path("keys")
	address := r.node(server, file, time.Hour)
	lines := func() int { data, _ := os.ReadFile(file); return bytes.Count(data, []byte("\n")) }
	r.eventually("the file is made", func() bool { return lines() == 1 })
	past := time.Now().Add(-2 * time.Hour)
	for _, want := range []int{2, 3, 3, 3} {
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, past, past); err != nil {
			t.Fatal(err)
		}
		r.eventually("a new key", func() bool { now, err := os.ReadFile(file); return err == nil && !bytes.Equal(now, before) })
		if lines() != want {
			t.Errorf("%d keys, want %d", lines(), want)
		}
	}
	// A lock of a node that died holds up nobody for long.
	if err := os.WriteFile(file+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, file + ".lock"} {
		if err := os.Chtimes(name, past, past); err != nil {
			t.Fatal(err)
		}
	}
	r.eventually("the lock is broken", func() bool { _, err := os.Stat(file + ".lock"); return os.IsNotExist(err) })
	// A file that can't be read is not overwritten, and the old keys go on.
	r.write("keys", "not a key\n")
	if err := os.Chtimes(file, past, past); err != nil {
		t.Fatal(err)
	}
	r.eventually("it is told", func() bool {
		return strings.Contains(r.log.String(), "could not be rotated") && strings.Contains(r.log.String(), "changed ticket keys are not usable")
	})
	if n := strings.Count(r.log.String(), "could not be rotated"); n != 1 {
		t.Errorf("told %d times", n)
	}
	if data, _ := os.ReadFile(file); string(data) != "not a key\n" {
		t.Errorf("%q", data)
	}
	if _, err := dial(address, &tls.Config{ServerName: "s", RootCAs: ca.Pool()}); err != nil {
		t.Error(err)
	}
}

// TestTicketsOutliveListener: what a reload does is open a listener of the same name and close the old one; it may have
// other certificates. A listener of another name has other keys.
func TestTicketsOutliveListener(t *testing.T) {
	r := newRig(t)
	ca := coretest.NewAuthority(t)
	c := &tls.Config{ServerName: "s", RootCAs: ca.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	open := func(name string, pairs ...*certs.Pair) (string, func()) {
		t.Helper()
		keys, err := r.OpenTickets(name, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		return r.listen(certs.ListenerOptions{Pairs: pairs, Tickets: keys})
	}
	server := ca.Issue([]string{"s"}, nil, nil)
	address, close := open("a", r.pair("s", server))
	if s, err := dial(address, c); err != nil || s.DidResume {
		t.Fatal(s.DidResume, err)
	}
	next, _ := open("a", r.pair("s", server), r.pair("t", ca.Issue([]string{"t"}, nil, nil)))
	close()
	if s, err := dial(next, c); err != nil || !s.DidResume {
		t.Error("the session is lost", err)
	}
	other, _ := open("b", r.pair("s", server))
	if s, err := dial(other, c); err != nil || s.DidResume {
		t.Error("resumed at another listener", err)
	}
}
