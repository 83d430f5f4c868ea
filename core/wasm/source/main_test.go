package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/weirproxy/weir/core/coretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// module is one that says n.
func module(n byte) []byte { return append([]byte("\x00asm\x01\x00\x00\x00\x00\x02\x01"), n) }

// newStore keeps in a folder that is not there yet, and its log is text.
func newStore(t *testing.T, change ...func(*Options)) (*Store, *coretest.Buffer) {
	t.Helper()
	log := &coretest.Buffer{}
	o := Options{StateDir: filepath.Join(t.TempDir(), "state"), Log: zerolog.New(log)}
	for _, c := range change {
		c(&o)
	}
	s := New(o)
	s.most = 2 << 20 // it is as large as one likes to send in a test
	return s, log
}

func fails(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("have %v\nwant %s", err, want)
	}
}

// names lists what is in the store's folder.
func names(t *testing.T, s *Store) (all []string) {
	t.Helper()
	list, err := os.ReadDir(s.keep.dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, f := range list {
		all = append(all, f.Name())
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", f.Name(), info.Mode(), err)
		}
	}
	return all
}

type file struct {
	name string
	data []byte
}

// archive packs files as a layer.
func archive(t *testing.T, compressed bool, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.data)), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !compressed {
		return b.Bytes()
	}
	return squeeze(t, b.Bytes())
}

func squeeze(t *testing.T, data []byte) []byte {
	t.Helper()
	var z bytes.Buffer
	g := gzip.NewWriter(&z)
	if _, err := g.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Bytes()
}
