package fault

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

// TestTraits holds what every kind must have: a word of its own, a status that fits its source, and no second try for
// what is not the upstream's doing.
func TestTraits(t *testing.T) {
	seen := map[string]Kind{}
	for i, name := range Names() {
		k := Kind(i)
		if other, twice := seen[name]; name == "" || twice || k.String() != name {
			t.Errorf("kind %d is called %q, as is %d", k, name, other)
		}
		seen[name] = k
		switch status := k.Status(); {
		case k == None, k == FilterReset, k == FilterAnswered:
			if status != 0 {
				t.Errorf("%v has status %d", k, status)
			}
		case k.Source() == Client && (status < 400 || status > 499) && k != CodingUnknown && k != VersionUnknown && k != Loop:
			t.Errorf("%v: %d", k, status)
		case k.Source() != Client && (status < 500 || status > 504):
			t.Errorf("%v: %d", k, status)
		}
		if (k.Punish() || k.Retry()) && k.Source() != Upstream {
			t.Errorf("%v is not the upstream's doing", k)
		}
		if k.Retry() && !k.Punish() {
			t.Errorf("%v is tried again and nobody is to blame", k)
		}
	}
	f := func(k Kind, source string, status int) {
		t.Helper()
		if k.Source().String() != source || k.Status() != status {
			t.Errorf("%v: %v %d", k, k.Source(), k.Status())
		}
	}
	f(BadRequest, "client", 400)
	f(HeaderTooLarge, "client", 431)
	f(UpstreamTimeout, "upstream", 504)
	f(GuestFailed, "guest", 503)
	f(Internal, "self", 500)
}

func TestFault(t *testing.T) {
	f := func(err error, kind Kind, text string) {
		t.Helper()
		if KindOf(err) != kind || err != nil && err.Error() != text {
			t.Errorf("%v: %v", err, KindOf(err))
		}
	}
	f(nil, None, "")
	f(io.EOF, Internal, "EOF")
	f(New(Forbidden, "no"), Forbidden, "no")
	f(New(Forbidden, ""), Forbidden, "forbidden")
	f(Wrap(BadResponse, io.EOF), BadResponse, "bad_response: EOF")
	f(&Fault{Kind: ConnectFailed, Text: "connect", Err: io.EOF}, ConnectFailed, "connect: EOF")
	// The outermost kind counts, however deep it lies.
	f(Wrap(BadResponse, New(BadRequest, "x")), BadResponse, "bad_response: x")
	f(fmt.Errorf("y: %w", New(NoRoute, "x")), NoRoute, "y: x")
	if !errors.Is(Wrap(Internal, io.EOF), io.EOF) {
		t.Error("the cause is lost")
	}
}
