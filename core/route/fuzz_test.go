package route

import (
	"bytes"
	"testing"
)

// FuzzLax: what is made of any path is a path without anything left in it that could be read in two ways but by decoding.
func FuzzLax(f *testing.F) {
	for _, s := range []string{"/", "/a/b", "/a%2Fb;x//c", "/%c0%ae", "/%EF%BC%8F.", "/a%", "/%zz%00?", "/\xe0\x80", "/%f0%80%80%af", "/. ;/x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) == 0 || p[0] != '/' {
			return
		}
		in := bytes.Clone(p)
		got, ok := AppendLax(make([]byte, 0, 8), p)
		if !bytes.Equal(in, p) {
			t.Fatalf("%q was changed", in)
		}
		if !ok {
			return
		}
		if got[0] != '/' || len(got) > len(p) || bytes.ContainsAny(got, "?#\x00;\\") || bytes.Contains(got, []byte("//")) {
			t.Errorf("%q makes %q", p, got)
		}
		for _, seg := range bytes.Split(got[1:], []byte("/")) {
			if string(seg) == "." || string(seg) == ".." || bytes.HasSuffix(seg, []byte(".")) {
				t.Errorf("%q makes %q", p, got)
			}
		}
	})
}
