package source

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weirproxy/weir/core/wasm/folder"
)

// keep is a folder of modules, <sha256>.wasm, and of entries, <sha256 of an address>.json, that say which module an address or
// a registry's digest stands for. An entry is a file of its own so that a node and weir filter pull need not agree on who writes.
// Without a folder all of it is in memory.
type keep struct {
	dir string

	mu      sync.Mutex
	used    map[string]bool   // modules that this process has had in hand
	modules map[string][]byte // those that are not in the folder
	entries map[string]entry  // without a folder
}

func newKeep() *keep {
	return &keep{used: map[string]bool{}, modules: map[string][]byte{}, entries: map[string]entry{}}
}

// entry says which module an address stands for.
type entry struct {
	Address string    `json:"address"` // without a password
	SHA256  string    `json:"sha256"`
	ETag    string    `json:"etag,omitempty"`
	Fetched time.Time `json:"fetched"`
	Checked time.Time `json:"checked"` // when the server last said that it is the latest
}

var errAbsent = errors.New("absent")

// module reads one, and proves that it is the one.
func (k *keep) module(hash string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(hash) != 2*sha256.Size || strings.Trim(hash, "0123456789abcdef") != "" {
		return nil, errAbsent
	}
	if code, ok := k.modules[hash]; ok {
		return code, nil
	}
	if k.dir == "" {
		return nil, errAbsent
	}
	path := k.file(hash + ".wasm")
	f, err := os.Open(path)
	if err != nil {
		return nil, absent(err)
	}
	defer f.Close()
	code, err := readMost(f, MaxModule)
	if err != nil {
		return nil, err
	}
	if hashOf(code) != hash {
		return nil, fmt.Errorf("%s is damaged", path)
	}
	k.used[hash] = true
	return code, nil
}

func (k *keep) file(name string) string { return filepath.Join(k.dir, name) }

func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return errAbsent
	}
	return err
}

// put keeps a module: in memory, if it cannot be written, and the error says why.
func (k *keep) put(hash string, code []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.used[hash] = true
	var err error
	if k.dir != "" {
		err = k.write(hash+".wasm", code)
	}
	if k.dir == "" || err != nil {
		if len(k.modules) >= maxMemory {
			clear(k.modules) // who needs one of them fetches it again
		}
		k.modules[hash] = code
	}
	return err
}

// maxMemory is the most modules that are kept in memory, of addresses that nobody may name any more.
const maxMemory = 64

// entry finds out what an address stands for.
func (k *keep) entry(address string) (e entry, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dir == "" {
		e, ok := k.entries[address]
		if !ok {
			return e, errAbsent
		}
		return e, nil
	}
	return k.read(entryName(address))
}

func (k *keep) read(name string) (e entry, err error) {
	if err := k.closed(); err != nil {
		return e, err
	}
	b, err := os.ReadFile(k.file(name))
	if err != nil {
		return e, absent(err)
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return e, fmt.Errorf("%s is damaged", k.file(name))
	}
	return e, nil
}

// closed says why entries are not to be believed: anybody may write them. Modules prove themselves.
func (k *keep) closed() error {
	if err := folder.Closed(filepath.Dir(k.dir)); err != nil {
		return err
	}
	return folder.Closed(k.dir)
}

func entryName(address string) string { return hashOf([]byte(address)) + ".json" }

// note says what an address stands for from now on.
func (k *keep) note(address string, e entry) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dir == "" {
		if old, ok := k.entries[address]; ok && old.SHA256 != e.SHA256 {
			delete(k.modules, old.SHA256) // if another address stands for it, it is fetched once more
		}
		k.entries[address] = e
		return nil
	}
	b, err := json.MarshalIndent(e, "", "\t")
	if err != nil {
		return err
	}
	return k.write(entryName(address), append(b, '\n'))
}

// digest reads the module that a registry's digest stands for: that of a manifest, by its entry, or of the module itself.
func (k *keep) digest(digest string) ([]byte, error) {
	e, err := k.entry("sha256:" + digest)
	switch {
	case err == nil:
		return k.module(e.SHA256)
	case errors.Is(err, errAbsent):
		return k.module(digest)
	}
	return nil, err
}

// write replaces a file whole: whoever reads it, after a crash too, finds the old one or the new one.
func (k *keep) write(name string, b []byte) (err error) {
	if err := k.makeFolder(); err != nil {
		return err
	}
	if err := k.closed(); err != nil {
		return err
	}
	f, err := os.CreateTemp(k.dir, temporary+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(b); err != nil {
		return err
	}
	k.give(f.Name())
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), k.file(name)); err != nil {
		return err
	}
	folder, err := os.Open(k.dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

const temporary = ".new-"

func (k *keep) makeFolder() error {
	if _, err := os.Stat(k.dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return err
	}
	k.give(filepath.Dir(k.dir))
	k.give(k.dir)
	return nil
}

// give makes a file that root made the owner's of state_dir: who pulls modules is often another than who serves. That one may
// have put a link in its place meanwhile, which must not lead root to what is none of his.
func (k *keep) give(path string) {
	if os.Geteuid() != 0 {
		return
	}
	state := filepath.Dir(filepath.Dir(k.dir))
	root, err := os.OpenRoot(state)
	if err != nil {
		return
	}
	defer root.Close()
	info, err := root.Stat(".")
	if err != nil {
		return
	}
	name, err := filepath.Rel(state, path)
	if st, ok := info.Sys().(*syscall.Stat_t); err == nil && ok && st.Uid != 0 {
		_ = root.Lchown(name, int(st.Uid), int(st.Gid))
	}
}

// Which modules nobody needs any more: those that no entry names, that this process has not had in hand, and that nobody has
// written for so long. A pinned one that another process serves is as good as new.
const (
	forget          = 30 * 24 * time.Hour
	forgetTemporary = 24 * time.Hour
)

// sweep removes what nobody needs. What goes wrong is left for the next time.
func (k *keep) sweep(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	named := map[string]bool{}
	if k.dir == "" {
		return
	}
	list, err := os.ReadDir(k.dir)
	if err != nil {
		return
	}
	for _, f := range list {
		if strings.HasSuffix(f.Name(), ".json") {
			e, err := k.read(f.Name())
			if err != nil {
				return // it may name any of them
			}
			named[e.SHA256] = true
		}
	}
	for _, f := range list {
		hash, module := strings.CutSuffix(f.Name(), ".wasm")
		after := forget
		if strings.HasPrefix(f.Name(), temporary) {
			module, after = true, forgetTemporary
		}
		info, err := f.Info()
		if module && err == nil && !named[hash] && !k.used[hash] && now.Sub(info.ModTime()) > after {
			_ = os.Remove(k.file(f.Name()))
		}
	}
}
