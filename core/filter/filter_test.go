package filter

import (
	"net/netip"
	"testing"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/exchange"
)

func TestSlots(t *testing.T) {
	for s := range Slots {
		if got, ok := ParseSlot(s.String()); got != s || !ok {
			t.Errorf("%v is read as %v", s, got)
		}
	}
	if s, ok := ParseSlot(""); s != Upstream || !ok {
		t.Error("the upstream's is where a filter stands unless told otherwise")
	}
	if _, ok := ParseSlot("Edge"); ok {
		t.Error("names are lower-case")
	}
}

type claims map[string]string

func (c claims) Value(path string) (string, bool)  { v, ok := c[path]; return v, ok }
func (c claims) List(path string) ([]string, bool) { return nil, false }

func TestAppendTemplate(t *testing.T) {
	x := exchange.Acquire()
	defer exchange.Release(x)
	x.Client.IP = netip.MustParseAddr("192.0.2.1")
	x.RequestID = []byte("id")
	x.Record.Route = "all"
	x.Params.Set("item", []byte("42"))
	who := &exchange.Identity{Subject: "alice", Claims: claims{"org.name": "acme"}}
	part := func(kind config.RefKind, name string) config.Part {
		return config.Part{Ref: config.Ref{Kind: kind, Name: name}}
	}
	f := func(id *exchange.Identity, want string, whole bool, parts ...config.Part) {
		t.Helper()
		x.Identity = id
		got, ok := AppendTemplate([]byte("+"), &config.Template{Parts: parts}, x)
		if string(got) != "+"+want || ok != whole {
			t.Errorf("%q %v, want %q %v", got, ok, want, whole)
		}
	}
	f(who, "", true)
	f(who, "a-b", true, config.Part{Text: "a-"}, config.Part{Text: "b"})
	f(who, "alice", true, part(config.RefSubject, ""))
	f(nil, "", false, part(config.RefSubject, ""))
	f(who, "acme", true, part(config.RefClaim, "org.name"))
	f(who, "<>", false, config.Part{Text: "<"}, part(config.RefClaim, "missing"), config.Part{Text: ">"})
	f(nil, "", false, part(config.RefClaim, "org.name"))
	f(who, "id", true, part(config.RefRequestID, ""))
	f(who, "192.0.2.1", true, part(config.RefClientIP, ""))
	f(who, "all", true, part(config.RefRouteName, ""))
	f(who, "42", true, part(config.RefPath, "item"))
	f(who, "", false, part(config.RefPath, "other"))
}
