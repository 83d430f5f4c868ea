// Package source brings modules to the node: from files and folders, from web servers when a plan is built, and from registries
// when somebody pulls them. What came over the network is kept by its hash, so that a node starts without the network.
package source

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/wasm/abi"
)

// MaxModule is the most bytes of a module that are read, from wherever it comes.
const MaxModule = 256 << 20

// Options of a Store. All of them may be zero.
type Options struct {
	// StateDir is where modules are kept, in its folder wasm/modules; empty: in memory only, and pulled ones nowhere.
	StateDir string
	// Roots verify servers; nil: those of the system.
	Roots *x509.CertPool
	// Timeout bounds a download or a pull; default 1 minute for the one, 5 for the other.
	Timeout time.Duration
	Log     zerolog.Logger
}

// Store fetches modules and keeps them. Its methods may be called concurrently, and several processes may share a folder:
// files are replaced whole. It holds no connection between calls and needs no closing.
type Store struct {
	o      Options
	keep   *keep
	opened time.Time
	most   int64 // bytes of what comes over the network

	mu sync.Mutex // one download at a time
}

// New makes a store. It makes no folder before there is something to put into it.
func New(o Options) *Store {
	s := &Store{o: o, keep: newKeep(), opened: time.Now(), most: MaxModule}
	if o.StateDir != "" {
		s.keep.dir = filepath.Join(o.StateDir, "wasm", "modules")
	}
	return s
}

// Get gives the module at an address: https://…, http://… or oci://…@sha256:…. With a pin, its hash in 64 lower case hexadecimal
// digits, it gives that module or none, and asks nobody if it has it. Without, a server is asked whether it has a newer one,
// and if no good module comes of that, the last good one is given and a warning logged. A registry is never asked.
func (s *Store) Get(address, pin string) ([]byte, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, errors.New("the address of a module cannot be read") // the error would show what may be a password
	case u.Scheme == "oci":
		return s.pulled(address, pin)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("%s is not an address that modules come from: https://…, http://… or oci://…", u.Redacted())
	case u.Scheme == "http" && pin == "":
		return nil, fmt.Errorf("%s would let anybody on the way put in another module: give its sha256, or take https://", u.Redacted())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if pin != "" {
		if code, err := s.keep.module(pin); err == nil {
			return code, nil
		}
		return s.fetchPinned(u, pin)
	}
	return s.fetchLatest(u)
}

// Kept gives a module that Get has given before, by its hash.
func (s *Store) Kept(hash [sha256.Size]byte) ([]byte, error) {
	return s.keep.module(hex.EncodeToString(hash[:]))
}

// Last gives the copy that was kept of what is at an address, and asks nobody.
func (s *Store) Last(address string) ([]byte, error) {
	if strings.HasPrefix(address, "oci://") {
		return s.pulled(address, "")
	}
	e, err := s.keep.entry(address)
	var code []byte
	if err == nil {
		code, err = s.keep.module(e.SHA256)
	}
	if errors.Is(err, errAbsent) {
		return nil, fmt.Errorf("there is no copy of %s in %s; one that is pinned lies there by its hash, %s", Redacted(address), s.o.StateDir,
			filepath.Join("wasm", "modules", "<sha256>.wasm"))
	}
	return code, err
}

// fetchPinned downloads a module that is not here.
func (s *Store) fetchPinned(u *url.URL, pin string) ([]byte, error) {
	a, err := s.download(u, "")
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", u.Redacted(), err)
	}
	if have := hashOf(a.code); have != pin {
		return nil, fmt.Errorf("%s is not the module that is pinned: its sha256 is %s, not %s", u.Redacted(), have, pin)
	}
	if err := abi.Form(a.code); err != nil {
		return nil, fmt.Errorf("%s: %w", u.Redacted(), err)
	}
	// Not under its address: that stands for the latest.
	s.warn(u, s.keep.put(pin, a.code))
	s.sweep()
	return a.code, nil
}

// fetchLatest downloads a module unless the one that is here is still the latest, and falls back on that.
func (s *Store) fetchLatest(u *url.URL) ([]byte, error) {
	last, err := s.keep.entry(u.String())
	var copied []byte
	if err == nil {
		copied, err = s.keep.module(last.SHA256)
	}
	if err != nil {
		last = entry{}
	}
	a, err := s.download(u, last.ETag)
	if err == nil && !a.unchanged {
		err = abi.Form(a.code)
	}
	if err != nil && copied == nil {
		return nil, fmt.Errorf("fetch %s: %w", u.Redacted(), err)
	}
	if err != nil {
		s.o.Log.Warn().Err(err).Str("url", u.Redacted()).Str("sha256", last.SHA256).
			Stringer("age", time.Since(last.Checked).Round(time.Second)).Msg("module not fetched: going on with the last good copy")
		return copied, nil
	}
	// A disk that is full or not to be written is no reason not to serve what is in memory.
	now := time.Now()
	last.Checked = now
	if hash := last.SHA256; a.unchanged || hashOf(a.code) == hash {
		a.code = copied
		if !a.unchanged {
			last.ETag = a.etag
		}
	} else {
		last = entry{Address: u.Redacted(), SHA256: hashOf(a.code), ETag: a.etag, Fetched: now, Checked: now}
		err = s.keep.put(last.SHA256, a.code)
	}
	if err == nil {
		err = s.keep.note(u.String(), last)
	}
	s.warn(u, err)
	s.sweep()
	return a.code, nil
}

// sweep looks for what nobody needs any more, once this process has surely had in hand whatever its configuration names.
func (s *Store) sweep() {
	if now := time.Now(); now.Sub(s.opened) > time.Hour {
		s.keep.sweep(now)
	}
}

func (s *Store) warn(u *url.URL, err error) {
	if err != nil {
		s.o.Log.Warn().Err(err).Str("url", u.Redacted()).Msg("module not kept: a start without its server would fail")
	}
}

// Redacted is an address as it may be shown: without its password.
func Redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Redacted()
}

func hashOf(code []byte) string {
	h := sha256.Sum256(code)
	return hex.EncodeToString(h[:])
}

// pulled gives a module that was pulled from a registry before.
func (s *Store) pulled(address, pin string) ([]byte, error) {
	if s.keep.dir == "" {
		return nil, errors.New(`an oci:// address needs the key "state_dir" at the top of the file: pulled modules are there`)
	}
	_, digest, ok := strings.Cut(address, "@sha256:")
	if !ok {
		return nil, fmt.Errorf("%s does not end with the digest of what is meant: weir filter pull finds it out", address)
	}
	code, err := s.keep.digest(digest)
	if err != nil {
		why := "has not been pulled yet"
		if !errors.Is(err, errAbsent) {
			why = "cannot be read (" + err.Error() + ")"
		}
		return nil, fmt.Errorf("%s %s; this does it: weir filter pull --state-dir %s %s", address, why, quote(s.o.StateDir), quote(address))
	}
	if have := hashOf(code); pin != "" && have != pin {
		return nil, fmt.Errorf("%s is not the module that is pinned: its sha256 is %s, not %s", address, have, pin)
	}
	return code, nil
}

// quote writes an argument as a shell takes it.
func quote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@+=%,") == "" && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// client makes what asks servers: no connection outlives a call's, and no address is followed to where its user would not go.
func (s *Store) client(wait time.Duration) *http.Client {
	return &http.Client{Transport: s.transport(wait), CheckRedirect: checkRedirect}
}

func (s *Store) context(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if s.o.Timeout > 0 {
		d = s.o.Timeout
	}
	return context.WithTimeout(ctx, d)
}
