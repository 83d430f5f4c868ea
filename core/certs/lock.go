package certs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

const (
	// lockFresh is how often a lock that is held is touched, lockStale when it was left by a node that died.
	lockFresh = 5 * time.Second
	lockStale = 4 * lockFresh
	// lockWait is between two tries.
	lockWait = 250 * time.Millisecond
)

// tryLock makes a file that only one can make, on every file system that nodes share. It reports false if another has.
func tryLock(path string) (bool, error) {
	if info, err := os.Stat(path); err == nil && stale(info) {
		removeStale(path)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

func stale(info os.FileInfo) bool { return time.Since(info.ModTime()) > lockStale }

// removeStale takes a dead one's lock away. Others may be at it, and the first of them may have made its own at path since: so
// only who has the guard looks once more and removes. A guard is held for a moment; one that is stale died within it.
func removeStale(path string) {
	guard := path + ".stale"
	if info, err := os.Stat(guard); err == nil && stale(info) {
		_ = os.Remove(guard)
	}
	f, err := os.OpenFile(guard, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return // another is at it
	}
	_ = f.Close()
	if info, err := os.Stat(path); err == nil && stale(info) {
		_ = os.Remove(path)
	}
	_ = os.Remove(guard)
}

// storage is a folder for certmagic with locks of ours: its own leave a goroutine behind for seconds.
type storage struct {
	*certmagic.FileStorage
	mu   sync.Mutex
	held map[string]func() // gives the lock of a path back
}

func newStorage(dir string) *storage {
	return &storage{FileStorage: &certmagic.FileStorage{Path: dir}, held: map[string]func(){}}
}

func (s *storage) lockPath(name string) string {
	return s.Filename(filepath.Join("locks", certmagic.StorageKeys.Safe(name)))
}

// Lock is certmagic.Locker's.
func (s *storage) Lock(ctx context.Context, name string) error {
	for {
		if ok, err := s.TryLock(ctx, name); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockWait):
		}
	}
}

// TryLock is certmagic.TryLocker's.
func (s *storage) TryLock(_ context.Context, name string) (bool, error) {
	path := s.lockPath(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, err
	}
	if ok, err := tryLock(path); !ok {
		return false, err
	}
	own, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	// One that was not touched for too long, because the machine slept, is another's by now. The time tells: it is the one that
	// we have set, and the file may be the same to the system.
	ours := func() bool {
		is, err := os.Stat(path)
		return err == nil && is.ModTime().Equal(own.ModTime())
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(lockFresh)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case now := <-tick.C:
				if ours() && os.Chtimes(path, now, now) == nil {
					if is, err := os.Stat(path); err == nil {
						own = is
					}
				}
			}
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[path] = func() {
		close(stop)
		<-done
		if ours() {
			_ = os.Remove(path)
		}
	}
	return true, nil
}

// Unlock is certmagic.Locker's.
func (s *storage) Unlock(_ context.Context, name string) error {
	path := s.lockPath(name)
	s.mu.Lock()
	release := s.held[path]
	delete(s.held, path)
	s.mu.Unlock()
	if release == nil {
		return fs.ErrNotExist
	}
	release()
	return nil
}
