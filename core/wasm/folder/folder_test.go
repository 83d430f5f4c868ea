package folder

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// tree makes a folder in another, with these modes.
func tree(t *testing.T, parent, mode os.FileMode) string {
	t.Helper()
	top := filepath.Join(t.TempDir(), "state")
	dir := filepath.Join(top, "wasm")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for at, m := range map[string]os.FileMode{dir: mode, top: parent} {
		if err := os.Chmod(at, m); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestClosed(t *testing.T) {
	f := func(parent, mode os.FileMode, want, own bool) {
		t.Helper()
		dir := tree(t, parent, mode)
		if err := Closed(dir); (err == nil) != want || err != nil && !errors.Is(err, ErrShared) {
			t.Errorf("%v in %v: %v", mode, parent, err)
		}
		if err := Own(dir); (err == nil) != own || err != nil && !errors.Is(err, ErrShared) {
			t.Errorf("%v in %v is not own: %v", mode, parent, err)
		}
		// By another name it is the same folder.
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(dir, link); err != nil {
			t.Fatal(err)
		}
		if err := Closed(link); (err == nil) != want {
			t.Errorf("%v in %v, by a link: %v", mode, parent, err)
		}
	}
	f(0o755, 0o700, true, true)
	f(0o755, 0o755, true, true)
	f(0o755, 0o775, true, false)
	f(0o755, 0o777, false, false)
	f(0o755, 0o702, false, false)
	f(0o777, 0o700, false, false)
	f(0o770, 0o700, true, false)
	f(0o777|os.ModeSticky, 0o700, true, true)
	f(0o755, 0o777|os.ModeSticky, false, false)
	if err := Closed(filepath.Join(t.TempDir(), "gone", "wasm")); err != nil {
		t.Error(err)
	}
}

// A folder of somebody else's is none of ours, however closed. Only root can make one.
func TestOwn(t *testing.T) {
	f := func(change func(dir string) string) {
		t.Helper()
		dir := tree(t, 0o755, 0o700)
		err := os.Chown(change(dir), 65534, 65534)
		if os.Geteuid() != 0 {
			if err == nil {
				t.Error("given away")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := Own(dir); !errors.Is(err, ErrShared) {
			t.Error(err)
		}
		if err := Closed(dir); err != nil {
			t.Error(err)
		}
	}
	f(func(dir string) string { return dir })
	f(filepath.Dir)
}
