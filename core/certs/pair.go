package certs

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/metric"
)

// Pair is a certificate with its chain and its key, as two PEM files hold them. The one in use is replaced when both
// files hold a new one that fits together, and never by less: a certificate without its key, half a file, one that has
// expired already.
type Pair struct {
	r         *Registry
	id        string
	cert, key string
	acme      string // the domain that it is issued for; "" for an operator's pair

	mu    sync.Mutex // guards files and again
	files watched
	again time.Time // when a pair that was refused may be taken; zero: there is none

	current atomic.Pointer[tls.Certificate] // nil: there is none yet
	trouble trouble
	gauge   *metric.Callback
}

// OpenPair gives the pair of two files, which are read now: what is wrong with them is an error, also for a pair that is
// in use with older contents. One that ends soon, or whose key others may read, is logged.
func (r *Registry) OpenPair(cert, key string) (*Pair, error) {
	p, existed, err := open(r, "pair\x00"+cert+"\x00"+key, func() (*Pair, error) {
		p := r.newPair(cert, key, "")
		if err := p.start(); err != nil {
			return nil, err
		}
		p.measure()
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
	p.warn()
	return p, nil
}

// openIssued gives the pair that is issued for a domain, which may not be there yet.
func (r *Registry) openIssued(cert, key, domain string) *Pair {
	p, _, _ := open(r, "pair\x00"+cert+"\x00"+key, func() (*Pair, error) {
		p := r.newPair(cert, key, domain)
		_ = p.start()
		p.measure()
		return p, nil
	})
	return p
}

func (r *Registry) newPair(cert, key, domain string) *Pair {
	return &Pair{
		r: r, id: "pair\x00" + cert + "\x00" + key, cert: cert, key: key, acme: domain,
		files: watched{paths: []string{cert, key}},
	}
}

// measure makes p's series; close takes them back.
func (p *Pair) measure() {
	p.trouble.count = p.r.failures.Acquire(p.cert)
	p.gauge = p.r.expiry.Acquire(func() float64 {
		if c := p.current.Load(); c != nil {
			return float64(c.Leaf.NotAfter.Unix())
		}
		return 0
	}, p.cert)
}

// Close gives the pair back.
func (p *Pair) Close() { p.r.drop(p.id) }

func (p *Pair) close() {
	p.gauge.Release()
	p.trouble.count.Release()
}

// start takes what the files hold now.
func (p *Pair) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.files.load(time.Now())
	pair, err := p.parse(c)
	if err != nil {
		return fmt.Errorf("load certificate %s with key %s: %w", p.cert, p.key, err)
	}
	p.files.take(c)
	p.again = time.Time{}
	p.current.Store(pair)
	p.trouble.clear()
	return nil
}

func (p *Pair) poll(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.again.IsZero() && !now.Before(p.again) {
		p.again = time.Time{}
		p.files.forget()
	}
	c, ok := p.files.news(now)
	if !ok {
		if p.files.restored() {
			p.again = time.Time{}
			p.trouble.clear()
		}
		return false
	}
	p.again = time.Time{}
	old := p.current.Load()
	if p.acme != "" && missing(c.err) {
		return false // not issued yet, or between two files of an issue
	}
	pair, err := p.parse(c)
	if err == nil && old != nil {
		p.again, err = worse(old, pair, now)
	}
	if err != nil {
		p.files.refuse(c)
		p.trouble.set(err)
		p.r.log.Error().Err(err).Str("certificate", p.cert).Str("key", p.key).Msg("changed certificate is not usable; the old one goes on")
		return false
	}
	p.files.take(c)
	p.current.Store(pair)
	p.trouble.clear()
	p.r.log.Info().Str("certificate", p.cert).Strs("names", pair.Leaf.DNSNames).Time("not_after", pair.Leaf.NotAfter).Msg("certificate taken")
	p.warn()
	return true
}

// worse says why a pair must not replace one that can still be used, and when that may be over: an authority's clock may be
// ahead of ours by seconds, and nobody touches the files again.
func worse(old, next *tls.Certificate, now time.Time) (until time.Time, err error) {
	switch {
	case now.After(old.Leaf.NotAfter):
		return time.Time{}, nil
	case now.After(next.Leaf.NotAfter):
		return time.Time{}, fmt.Errorf("it expired at %s", next.Leaf.NotAfter.Format(time.RFC3339))
	case now.Before(next.Leaf.NotBefore):
		until = next.Leaf.NotBefore
		if until.After(old.Leaf.NotAfter) {
			until = old.Leaf.NotAfter.Add(time.Second)
		}
		return until, fmt.Errorf("it is not valid before %s", next.Leaf.NotBefore.Format(time.RFC3339))
	}
	return time.Time{}, nil
}

func (p *Pair) parse(c contents) (*tls.Certificate, error) {
	if c.err != nil {
		return nil, c.err
	}
	for _, data := range c.data {
		if err := whole(data); err != nil {
			return nil, err
		}
	}
	pair, err := tls.X509KeyPair(c.data[0], c.data[1])
	if err != nil {
		return nil, err
	}
	return &pair, nil
}

// whole finds a PEM file that ends within a block: readers of PEM skip what they can't read, and would take a chain for a
// shorter one.
func whole(data []byte) error {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
	}
	if bytes.Contains(data, []byte("-----BEGIN")) {
		return errors.New("a PEM block is cut short or damaged")
	}
	return nil
}

const (
	// soon is when a certificate should have been renewed: ACME clients do it 30 days before the end of 90.
	soon = 14 * 24 * time.Hour
	// soonShare is the part of a certificate's life that is soon for one that is short-lived.
	soonShare = 6
)

// warn logs what is usable and looks wrong.
func (p *Pair) warn() {
	c := p.current.Load()
	if c == nil {
		return
	}
	left := time.Until(c.Leaf.NotAfter)
	if left < min(soon, c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)/soonShare) {
		p.r.log.Warn().Str("certificate", p.cert).Time("not_after", c.Leaf.NotAfter).Bool("expired", left <= 0).
			Msg("a certificate expires soon, or has expired")
	}
	if exposed(p.key) {
		p.r.log.Warn().Str("key", p.key).Msg("others than its owner may read this key; its mode should be 0600")
	}
}
