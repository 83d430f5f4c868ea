package certs

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Roots are certificates of authorities in one PEM file, which is watched.
type Roots struct {
	r    *Registry
	id   string
	file string

	mu      sync.Mutex // guards files
	files   watched
	pool    atomic.Pointer[x509.CertPool]
	trouble trouble
}

// OpenRoots gives the roots in a file, which is read now.
func (r *Registry) OpenRoots(file string) (*Roots, error) {
	p, existed, err := open(r, "roots\x00"+file, func() (*Roots, error) {
		p := &Roots{r: r, id: "roots\x00" + file, file: file, files: watched{paths: []string{file}}}
		if err := p.start(); err != nil {
			return nil, err
		}
		p.trouble.count = r.failures.Acquire(file)
		return p, nil
	})
	if err != nil {
		return nil, err
	}
	if existed {
		if err := p.start(); err != nil {
			p.Close()
			return nil, err
		}
		r.refresh()
	}
	return p, nil
}

// Close gives the roots back.
func (p *Roots) Close() { p.r.drop(p.id) }

func (p *Roots) close() { p.trouble.count.Release() }

func (p *Roots) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.files.load(time.Now())
	pool, err := parseRoots(c)
	if err != nil {
		return fmt.Errorf("read ca %s: %w", p.file, err)
	}
	// The pool in use stays if nothing has changed: listeners would be told for nothing.
	if c.sum != p.files.taken {
		p.pool.Store(pool)
	}
	p.files.take(c)
	p.trouble.clear()
	return nil
}

func (p *Roots) poll(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.files.news(now)
	if !ok {
		if p.files.restored() {
			p.trouble.clear()
		}
		return false
	}
	pool, err := parseRoots(c)
	if err != nil {
		p.files.refuse(c)
		p.trouble.set(err)
		p.r.log.Error().Err(err).Str("ca", p.file).Msg("changed roots are not usable; the old ones go on")
		return false
	}
	p.files.take(c)
	p.pool.Store(pool)
	p.trouble.clear()
	p.r.log.Info().Str("ca", p.file).Msg("roots taken")
	return true
}

// parseRoots takes all certificates or none: one that can't be read must not be left out in silence.
func parseRoots(c contents) (*x509.CertPool, error) {
	if c.err != nil {
		return nil, c.err
	}
	data := c.data[0]
	if err := whole(data); err != nil {
		return nil, err
	}
	pool, n := x509.NewCertPool(), 0
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 {
		return nil, errEmpty
	}
	return pool, nil
}
