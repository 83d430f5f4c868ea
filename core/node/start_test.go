package node_test

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/node"
)

func TestCheck(t *testing.T) {
	ff := &fake{}
	check := func(yaml string, kinds []filter.Kind) error {
		s, err := config.Parse(filepath.Join(t.TempDir(), "weir.yaml"), []byte(strings.ReplaceAll(yaml, "${UPSTREAM}", "127.0.0.1:1")), nil)
		if err != nil {
			t.Fatal(err)
		}
		return node.Check(s, kinds)
	}
	if err := check(numbered(1), ff.kinds(false)); err != nil || ff.closed.Load() != 2 {
		t.Errorf("%v, %d filters closed", err, ff.closed.Load())
	}
	bad := []filter.Kind{{Build: func(p filter.Place) ([]filter.Placed, error) {
		r := p.Route
		return []filter.Placed{{Name: "half", Filter: ff}}, r.Pos.Errorf("no filter for %s", r.Name)
	}}}
	ff.closed.Store(0)
	err := check(`
version: 1
listeners:
  - {address: "systemd:web"}
  - {address: ":0", tls: {certificates: [{cert: a.crt, key: a.key}]}}
jwt: {sso: {secret: {file: none}, algorithms: [HS256]}}
upstreams: {api: {endpoints: ["https://127.0.0.1:1"], tls: {ca: none.pem}}}
routes:
  - {match: {path: /a}, auth: {jwt: sso}, upstream: api}
`, bad)
	for _, want := range []string{"a.crt", "none", "none.pem", "no filter for route-1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said in:\n%v", want, err)
		}
	}
	var problems *config.Problems
	if !errors.As(err, &problems) || len(problems.List) != 4 || ff.closed.Load() != 1 {
		t.Errorf("%d filters closed; %v", ff.closed.Load(), err)
	}
	many := []filter.Kind{{Build: func(filter.Place) ([]filter.Placed, error) {
		return make20(ff), nil
	}}}
	if err := check(numbered(1), many); err == nil || !strings.Contains(err.Error(), "20 filters on one route") {
		t.Error(err)
	}
}

func make20(f filter.Filter) (all []filter.Placed) {
	for range 20 {
		all = append(all, filter.Placed{Name: "f", Filter: f})
	}
	return all
}

func TestStartThatFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	start := func(yaml string) error {
		ff := &fake{}
		n, err := node.Start(node.Options{Kinds: ff.kinds(false), Log: io.Discard, Load: func() (*config.Spec, error) {
			return config.Parse(filepath.Join(t.TempDir(), "w.yaml"), []byte(strings.ReplaceAll(yaml, "${UPSTREAM}", "127.0.0.1:1")), nil)
		}})
		if err == nil {
			n.Drain()
		} else if n := ff.closed.Load(); strings.Contains(err.Error(), "listen on") && n != 2 {
			t.Errorf("%v: %d filters closed", err, n)
		}
		return err
	}
	for _, yaml := range []string{
		"version: 2",
		numbered(1) + "jwt: {sso: {secret: {file: none}, algorithms: [HS256]}}",
		strings.Replace(numbered(1), "127.0.0.1:0", taken.Addr().String(), 1),
		numbered(1) + "admin: {address: " + taken.Addr().String() + "}",
		numbered(1) + "admin: {address: \"127.0.0.1:0\", token: {file: none}}",
		strings.Replace(numbered(1), `"off"`, "none/a.log", 1),
	} {
		if err := start(yaml); err == nil {
			t.Errorf("started:\n%s", yaml)
		}
	}
}
