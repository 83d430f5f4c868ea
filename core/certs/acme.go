package certs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

// ACMEOptions say which certificates are issued, and by whom.
type ACMEOptions struct {
	Domains   []string // names in lower case, without wildcards: those are proved by DNS, which weir does not do
	Email     string
	Directory string // URL; "" is Let's Encrypt
	CA        string // file of the roots that the directory's own certificate is verified against; "" is the system's
	Dir       string // where accounts, keys and certificates are kept; required; it is made when something is
	HTTP, TLS bool   // ways to prove a domain: by a plain listener, by one with TLS

	RenewCheck time.Duration // between two looks at what must be renewed; 0: ten minutes
	RenewAt    float64       // the part of a certificate's life that is left when it is renewed; 0: a third
}

// ACME has certificates issued and renewed. What is issued lies in files, which are watched like any other pair: so a
// restart needs no authority, and of nodes that share the folder one asks.
type ACME struct {
	r     *Registry
	id    string
	o     ACMEOptions
	roots *Roots // of the directory; nil: the system's
	pairs []*Pair

	storage *storage
	config  *certmagic.Config
	cache   *certmagic.Cache // nil before begin

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	once   sync.Once
	work   sync.WaitGroup

	mu     sync.Mutex
	errors map[string]string // the last one of a domain that has no certificate, or none that lasts
}

// OpenACME gives the manager of what o says: the one there is, if it is the same. Nothing is asked for before the
// listener begins.
func (r *Registry) OpenACME(o ACMEOptions) (*ACME, error) {
	if o.Directory == "" {
		o.Directory = certmagic.LetsEncryptProductionCA
	}
	var roots *Roots
	if o.CA != "" {
		var err error
		if roots, err = r.OpenRoots(o.CA); err != nil {
			return nil, err
		}
	}
	// Pairs are opened outside of build: both take the registry's lock.
	issuer := issuerKey(o.Directory)
	storage := newStorage(o.Dir)
	var pairs []*Pair
	for _, domain := range o.Domains {
		cert := storage.Filename(certmagic.StorageKeys.SiteCert(issuer, domain))
		key := storage.Filename(certmagic.StorageKeys.SitePrivateKey(issuer, domain))
		pairs = append(pairs, r.openIssued(cert, key, domain))
	}
	id := fmt.Sprintf("acme\x00%+v", o)
	a, existed, _ := open(r, id, func() (*ACME, error) {
		a := &ACME{r: r, id: id, o: o, roots: roots, pairs: pairs, storage: storage, errors: map[string]string{}}
		a.ctx, a.cancel = context.WithCancel(context.Background())
		return a, nil
	})
	if existed {
		for _, p := range pairs {
			p.Close()
		}
		if roots != nil {
			roots.Close()
		}
	}
	return a, nil
}

// issuerKey is the folder of an authority: its host and path.
func issuerKey(directory string) string {
	u, err := url.Parse(directory)
	if err != nil {
		return "default"
	}
	return certmagic.StorageKeys.Safe(strings.ReplaceAll(u.Host+u.Path, "/", "-"))
}

// Close gives the manager back. The last one waits for what it is doing.
func (a *ACME) Close() { a.r.drop(a.id) }

func (a *ACME) close() {
	a.mu.Lock()
	a.cancel()
	a.mu.Unlock()
	a.work.Wait()
	if a.cache != nil {
		a.cache.Stop()
	}
	for _, p := range a.pairs {
		p.Close()
	}
	if a.roots != nil {
		a.roots.Close()
	}
}

// enter makes close wait for what certmagic's own goroutines have begun, unless it has closed already.
func (a *ACME) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil {
		return false
	}
	a.work.Add(1)
	return true
}

func (a *ACME) poll(time.Time) bool { return false }

// begin starts to ask for what is missing and to renew what ends. A second one does nothing.
func (a *ACME) begin() {
	a.once.Do(func() {
		log := zapLogger(a.r.log)
		a.cache = certmagic.NewCache(certmagic.CacheOptions{
			GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return a.config, nil },
			RenewCheckInterval: a.o.RenewCheck,
			Logger:             log,
		})
		a.config = certmagic.New(a.cache, certmagic.Config{
			Issuers: []certmagic.Issuer{&issuer{a}}, Storage: a.storage, Logger: log, OnEvent: a.event,
			RenewalWindowRatio: a.o.RenewAt, OCSP: certmagic.OCSPConfig{DisableStapling: true},
		})
		for _, domain := range a.o.Domains {
			a.work.Go(func() { a.obtain(domain) })
		}
	})
}

// Waits between tries. The authority's word against us is not asked for often, for it counts failures; a network that does
// not work may do so in a moment.
const (
	firstRetry        = time.Second
	mostRetry         = 5 * time.Minute
	firstRetryRefused = time.Minute
	mostRetryRefused  = 6 * time.Hour
)

// obtain has a certificate for domain in the folder, as soon as that can be; renewals are the cache's business then.
func (a *ACME) obtain(domain string) {
	for failed, refused := 0, 0; ; {
		err := a.config.ManageSync(a.ctx, []string{domain})
		if a.ctx.Err() != nil {
			return
		}
		if err == nil {
			a.note(domain, nil)
			a.r.look()
			return
		}
		wait := min(firstRetry<<min(failed, 10), mostRetry)
		failed++
		var problem acme.Problem
		if errors.As(err, &problem) {
			wait = min(firstRetryRefused<<min(refused, 10), mostRetryRefused)
			refused++
		}
		wait += rand.N(wait/10 + 1) // nodes that start together
		a.note(domain, err)
		a.r.log.Warn().Err(err).Str("domain", domain).Stringer("retry_in", wait.Round(time.Second)).Msg("no certificate was issued")
		select {
		case <-a.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// event hears what certmagic does.
func (a *ACME) event(_ context.Context, name string, data map[string]any) error {
	domain, _ := data["identifier"].(string)
	switch name {
	case "cert_obtained":
		a.note(domain, nil)
		a.r.log.Info().Str("domain", domain).Any("renewal", data["renewal"]).Msg("certificate issued")
		a.r.look()
	case "cert_failed":
		err, _ := data["error"].(error)
		a.note(domain, err)
	}
	return nil
}

func (a *ACME) note(domain string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		delete(a.errors, domain)
		return
	}
	a.errors[domain] = err.Error()
}

// trouble is the last error of a domain.
func (a *ACME) trouble(domain string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.errors[domain]
}

// accountKey is where the account with an authority is kept.
func (a *ACME) accountKey() string {
	who := a.o.Email
	if who == "" {
		who = "default"
	}
	return filepath.ToSlash(filepath.Join("accounts", issuerKey(a.o.Directory), certmagic.StorageKeys.Safe(who)+".json"))
}
