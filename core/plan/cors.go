package plan

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/weirproxy/weir/core/config"
)

// CORS says which pages of other origins may read a route's answers (Fetch standard §3.3), with the values of fields ready
// to be sent; nil ones are not.
type CORS struct {
	Any         bool // every origin, so that answers are the same for all
	Credentials bool
	Methods     []byte // these three answer preflights
	Headers     []byte
	MaxAge      []byte
	Expose      []byte

	exact    map[string]struct{} // canonical origins
	suffixes []originSuffix
}

// originSuffix is an origin with a * in place of the first labels of its host.
type originSuffix struct{ scheme, rest string }

// maxOrigin is the longest origin that is looked up: scheme, name and port.
const maxOrigin = 320

// cors makes a route's CORS; nil if it has none.
func (b *builder) cors(c *config.CORS) *CORS {
	if c == nil {
		return nil
	}
	out := &CORS{exact: map[string]struct{}{}}
	for _, o := range c.Origins {
		scheme, rest, wild := strings.Cut(strings.ToLower(o), "://*.")
		switch {
		case o == config.OriginAny:
			out.Any = true
		case wild:
			var buf [maxOrigin]byte
			rest = string(canonicalOrigin(buf[:0], []byte(scheme+"://."+rest)))
			out.suffixes = append(out.suffixes, originSuffix{scheme + "://", strings.TrimPrefix(rest, scheme+"://")})
		case len(o) > maxOrigin:
			b.fail(c.Pos, "an origin longer than %d bytes", maxOrigin)
		default:
			var buf [maxOrigin]byte
			out.exact[string(canonicalOrigin(buf[:0], []byte(o)))] = struct{}{}
		}
	}
	out.Credentials = c.Credentials && !out.Any // with both any page could read what its visitor may
	methods := c.Methods
	if len(methods) == 0 {
		methods = []string{"GET", "HEAD", "POST"}
	}
	out.Methods, out.Headers, out.Expose = joined(methods), joined(c.Headers), joined(c.Expose)
	if c.MaxAge > 0 {
		out.MaxAge = strconv.AppendInt(nil, int64(c.MaxAge/time.Second), 10)
	}
	return out
}

func joined(list []string) []byte {
	if len(list) == 0 {
		return nil
	}
	return []byte(strings.Join(list, ", "))
}

// Origin gives the value of Access-Control-Allow-Origin for a request from o, empty if it names no origin or several: "*", o
// itself, or nil if that origin may not read the answer.
func (c *CORS) Origin(o []byte) []byte {
	if c.Any {
		return everyone
	}
	if len(o) == 0 || len(o) > maxOrigin {
		return nil
	}
	var buf [maxOrigin]byte
	key := canonicalOrigin(buf[:0], o)
	if _, ok := c.exact[string(key)]; ok {
		return o
	}
	for i := range c.suffixes {
		if c.suffixes[i].fits(key) {
			return o
		}
	}
	return nil
}

var everyone = []byte("*")

// fits reports whether labels, at least one, stand between scheme and rest: nothing that could end a host.
func (s *originSuffix) fits(origin []byte) bool {
	if len(origin) <= len(s.scheme)+len(s.rest) || string(origin[:len(s.scheme)]) != s.scheme ||
		string(origin[len(origin)-len(s.rest):]) != s.rest {
		return false
	}
	for _, c := range origin[len(s.scheme) : len(origin)-len(s.rest)] {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

// canonicalOrigin appends o, of at most maxOrigin bytes, in lower case and without the port that its scheme has anyway
// (RFC 6454 §4). What is no origin stays different from all that are.
func canonicalOrigin(dst, o []byte) []byte {
	for _, c := range o {
		if c-'A' < 26 {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	switch {
	case bytes.HasPrefix(dst, httpsScheme):
		return bytes.TrimSuffix(dst, port443)
	case bytes.HasPrefix(dst, httpScheme):
		return bytes.TrimSuffix(dst, port80)
	}
	return dst
}

var (
	httpScheme, port80   = []byte("http://"), []byte(":80")
	httpsScheme, port443 = []byte("https://"), []byte(":443")
)
