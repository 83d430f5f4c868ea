package certs

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	ticketKey = 32 // bytes
	// keepFile is how many keys stay in a file that weir rotates.
	keepFile = 3
	// Keys of the process live as those do that crypto/tls makes itself. Its own would end with the tls.Config that they
	// belong to, and so with a reload that changes it.
	processRotate = 24 * time.Hour
	keepProcess   = 7
)

// Tickets are the keys of session tickets (RFC 8446 §4.6.1, RFC 5077): the first encrypts, all decrypt. They come from a
// file that several nodes share, or are the process's own.
//
// The file holds keys of 32 bytes, the newest first: one a line in base64 or in hex, or raw one after another. Its time
// of change is taken for the age of the newest key.
type Tickets struct {
	r      *Registry
	id     string
	file   string
	rotate time.Duration

	mu      sync.Mutex // guards all below
	files   watched
	keys    [][ticketKey]byte
	made    time.Time // of a process's newest key
	configs map[*tls.Config]struct{}
	begun   bool
	failure string // of the last rotation, told once
	trouble trouble
}

// OpenTickets gives the keys in a file, or those of the process for the listener called name if file is empty: one
// listener's sessions are of no use at another. With rotate, whichever node first finds the newest key that old puts a
// new one before it, and a file that is not there is made; 0 only reads.
func (r *Registry) OpenTickets(name, file string, rotate time.Duration) (*Tickets, error) {
	id := "tickets\x00" + name
	if file != "" {
		id = fmt.Sprintf("ticket file\x00%s\x00%s", file, rotate)
	}
	t, existed, err := open(r, id, func() (*Tickets, error) {
		t := &Tickets{r: r, id: id, file: file, rotate: rotate, configs: map[*tls.Config]struct{}{}, files: watched{paths: []string{file}}}
		if err := t.start(); err != nil {
			return nil, err
		}
		if file != "" {
			t.trouble.count = r.failures.Acquire(file)
		}
		return t, nil
	})
	if err != nil {
		return nil, err
	}
	if existed {
		if err := t.start(); err != nil {
			t.Close()
			return nil, err
		}
	}
	if file != "" && exposed(file) {
		r.log.Warn().Str("ticket_keys", file).Msg("others than its owner may read these keys; the file's mode should be 0600")
	}
	return t, nil
}

// Close gives the keys back.
func (t *Tickets) Close() { t.r.drop(t.id) }

func (t *Tickets) close() {
	if t.trouble.count != nil {
		t.trouble.count.Release()
	}
}

func (t *Tickets) start() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == "" {
		if t.keys == nil {
			t.renew(time.Now())
		}
		return nil
	}
	c := t.files.load(time.Now())
	keys, err := parseTickets(c)
	switch {
	case err != nil && t.rotate > 0 && missing(c.err):
		if t.keys == nil {
			t.renew(time.Now()) // until the file has been made
		}
		return nil
	case err != nil:
		return fmt.Errorf("read ticket keys %s: %w", t.file, err)
	}
	t.files.take(c)
	t.set(keys)
	t.trouble.clear()
	return nil
}

// begin allows rotation of the file.
func (t *Tickets) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun = true
}

func (t *Tickets) attach(c *tls.Config) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.configs[c] = struct{}{}
	c.SetSessionTicketKeys(t.keys)
}

func (t *Tickets) detach(c *tls.Config) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.configs, c)
}

// set uses keys from now on. t.mu is held.
func (t *Tickets) set(keys [][ticketKey]byte) {
	t.keys = keys
	for c := range t.configs {
		c.SetSessionTicketKeys(keys)
	}
}

// renew puts a new key of the process before the others. t.mu is held.
func (t *Tickets) renew(now time.Time) {
	t.made = now
	t.set(withNew(t.keys, keepProcess))
}

func withNew(keys [][ticketKey]byte, keep int) [][ticketKey]byte {
	out := make([][ticketKey]byte, 1, keep)
	_, _ = rand.Read(out[0][:]) // never fails
	return append(out, keys[:min(len(keys), keep-1)]...)
}

// poll reports no change: listeners hear of keys by themselves.
func (t *Tickets) poll(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == "" {
		if now.Sub(t.made) >= processRotate {
			t.renew(now)
		}
		return false
	}
	// What this node writes it takes as the others do, when it has seen it twice: they know the key by then.
	if t.rotate > 0 && t.begun && now.Sub(t.age()) >= t.rotate {
		t.rotateFile(now)
	}
	c, ok := t.files.news(now)
	if !ok {
		if t.files.restored() {
			t.trouble.clear()
		}
		return false
	}
	if t.rotate > 0 && missing(c.err) {
		return false // will be made
	}
	keys, err := parseTickets(c)
	if err != nil {
		t.files.refuse(c)
		t.trouble.set(err)
		t.r.log.Error().Err(err).Str("ticket_keys", t.file).Msg("changed ticket keys are not usable; the old ones go on")
		return false
	}
	t.files.take(c)
	t.set(keys)
	t.trouble.clear()
	t.r.log.Info().Str("ticket_keys", t.file).Int("keys", len(keys)).Msg("ticket keys taken")
	return false
}

// age is when the file was last changed; zero without one.
func (t *Tickets) age() time.Time {
	info, err := os.Stat(t.file)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func (t *Tickets) rotateFile(now time.Time) {
	err := rotateTickets(t.file, t.rotate, now)
	if err == nil {
		t.failure = ""
		return
	}
	if errors.Is(err, errLocked) || err.Error() == t.failure {
		return
	}
	t.failure = err.Error()
	t.r.log.Error().Err(err).Str("ticket_keys", t.file).Msg("ticket keys could not be rotated")
}

var errLocked = errors.New("another node rotates")

// rotateTickets puts a new key before those in file, in one step, unless another node has done so meanwhile.
func rotateTickets(file string, every time.Duration, now time.Time) error {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real // a link stays one
	}
	lock := file + ".lock"
	if ok, err := tryLock(lock); err != nil || !ok {
		return cmp.Or(err, errLocked)
	}
	defer os.Remove(lock)

	var keys [][ticketKey]byte
	data, info, err := readFile(file)
	switch {
	case missing(err):
	case err != nil:
		return err
	case now.Sub(info.ModTime()) < every:
		return nil
	default:
		if keys, err = parseTickets(contents{data: [][]byte{data}}); err != nil {
			return err // whose file this is, and what for, is not known
		}
	}
	var out bytes.Buffer
	for _, k := range withNew(keys, keepFile) {
		out.WriteString(base64.StdEncoding.EncodeToString(k[:]) + "\n")
	}
	return replace(file, out.Bytes())
}

// replace writes a file that only its owner may read, so that it is there as a whole or not at all.
func replace(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// parseTickets reads keys as text, or raw if they are no text.
func parseTickets(c contents) ([][ticketKey]byte, error) {
	if c.err != nil {
		return nil, c.err
	}
	data := c.data[0]
	if keys, err := ticketLines(data); keys != nil || err != nil {
		return keys, err
	}
	if len(data) == 0 || len(data)%ticketKey != 0 {
		return nil, fmt.Errorf("%d bytes are no keys of %d: want one a line in base64 or hex, or raw ones", len(data), ticketKey)
	}
	var keys [][ticketKey]byte
	for ; len(data) > 0; data = data[ticketKey:] {
		keys = append(keys, [ticketKey]byte(data))
	}
	return keys, nil
}

// ticketLines gives nothing for what is no text.
func ticketLines(data []byte) (keys [][ticketKey]byte, err error) {
	for _, b := range data {
		if (b < ' ' || b > '~') && b != '\n' && b != '\r' && b != '\t' {
			return nil, nil
		}
	}
	n := 0
	for line := range bytes.Lines(data) {
		n++
		text := string(bytes.TrimSpace(line))
		if text == "" {
			continue
		}
		key, err := hex.DecodeString(text)
		if err != nil {
			key, err = base64.StdEncoding.DecodeString(text)
		}
		if err != nil || len(key) != ticketKey {
			return nil, fmt.Errorf("line %d is not a key of %d bytes in base64 or hex", n, ticketKey)
		}
		keys = append(keys, [ticketKey]byte(key))
	}
	return keys, nil
}
