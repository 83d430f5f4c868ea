// Package folder tells whom a folder's content may be of, before it is believed: compiled modules are run as native code, and
// what stands for an address says which module decides about requests.
package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ErrShared is what every error about a folder that others may write to is.
var ErrShared = errors.New("others may write to it")

// Bits of a mode.
const (
	byAll   fs.FileMode = 0o002
	byGroup fs.FileMode = 0o020
)

// Closed says why anybody may write to a folder, or put another in its place; nil: not anybody may, or there is no such folder.
// A group that may is the operator's choice: volumes of containers have one. What the name leads to counts. Access lists beyond
// the mode are not looked at.
func Closed(dir string) error {
	_, err := closed(dir, byAll)
	return err
}

// Own says why others than this process's user and root may do so, a group too.
func Own(dir string) error {
	owners, err := closed(dir, byAll|byGroup)
	if err != nil {
		return err
	}
	for _, uid := range owners {
		if uid != 0 && int(uid) != os.Geteuid() {
			return fmt.Errorf("%s, or where it lies, belongs to user %d: %w", dir, uid, ErrShared)
		}
	}
	return nil
}

// closed gives the owners of a folder and of those that it can be replaced in; none if there is no such folder.
func closed(dir string, others fs.FileMode) (owners []uint32, err error) {
	name, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(name)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, at := range []string{dir, filepath.Dir(dir), filepath.Dir(name)} { // the last holds a link, if that is what it is
		info, err := os.Stat(at)
		if err != nil {
			return nil, err
		}
		// In a sticky folder nobody but its owner moves what is another's.
		if mode := info.Mode(); mode&others != 0 && (at == dir || mode&fs.ModeSticky == 0) {
			return nil, fmt.Errorf("%s has mode %#o: %w", at, mode.Perm(), ErrShared)
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			owners = append(owners, st.Uid)
		}
	}
	return owners, nil
}
