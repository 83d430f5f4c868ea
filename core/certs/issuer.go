package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// issuer orders certificates from the authority. It is our own because certmagic's opens listeners to be asked on, which
// weir has, and leaves a goroutine behind.
type issuer struct{ a *ACME }

// IssuerKey is certmagic.Issuer's.
func (i *issuer) IssuerKey() string { return issuerKey(i.a.o.Directory) }

// Issue is certmagic.Issuer's. It ends with the manager, whatever ctx says.
func (i *issuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	if !i.a.enter() {
		return nil, context.Canceled
	}
	defer i.a.work.Done()
	ctx, cancel := context.WithTimeout(ctx, issueTime)
	defer cancel()
	defer context.AfterFunc(i.a.ctx, cancel)()
	client, done := i.a.client()
	defer done()
	chain, err := i.order(ctx, client, csr)
	var problem acme.Problem
	if errors.As(err, &problem) && problem.Type == acme.ProblemTypeAccountDoesNotExist {
		// The authority has forgotten us; a test authority does so with every start.
		if err = i.a.storage.Delete(ctx, i.a.accountKey()); err == nil {
			chain, err = i.order(ctx, client, csr)
		}
	}
	if err != nil {
		return nil, err
	}
	return &certmagic.IssuedCertificate{Certificate: chain.ChainPEM, Metadata: chain}, nil
}

// issueTime bounds one order: an authority may take minutes to be satisfied.
const issueTime = 10 * time.Minute

func (i *issuer) order(ctx context.Context, client *acmez.Client, csr *x509.CertificateRequest) (acme.Certificate, error) {
	account, err := i.a.account(ctx, client)
	if err != nil {
		return acme.Certificate{}, err
	}
	order, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		return acme.Certificate{}, err
	}
	chains, err := client.ObtainCertificate(ctx, order)
	if err != nil {
		return acme.Certificate{}, err
	}
	if len(chains) == 0 {
		return acme.Certificate{}, errors.New("the authority sent no certificate")
	}
	return chains[0], nil
}

// GetRenewalInfo is certmagic.RenewalInfoGetter's: when the authority wants a certificate renewed (RFC 9773).
func (i *issuer) GetRenewalInfo(_ context.Context, cert certmagic.Certificate) (acme.RenewalInfo, error) {
	ctx, cancel := context.WithTimeout(i.a.ctx, requestTime)
	defer cancel()
	client, done := i.a.client()
	defer done()
	return client.GetRenewalInfo(ctx, cert.Leaf)
}

// requestTime bounds one request to the authority.
const requestTime = 30 * time.Second

// client makes a client with the roots of now. done ends its connections.
func (a *ACME) client() (c *acmez.Client, done func()) {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: requestTime / 3, ResponseHeaderTimeout: requestTime,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
	}
	if a.roots != nil {
		t.TLSClientConfig.RootCAs = a.roots.pool.Load()
	}
	c = &acmez.Client{
		Client: &acme.Client{
			Directory: a.o.Directory, UserAgent: "weir", HTTPClient: &http.Client{Transport: t, Timeout: requestTime},
		},
		ChallengeSolvers: map[string]acmez.Solver{},
	}
	if a.o.HTTP {
		c.ChallengeSolvers[acme.ChallengeTypeHTTP01] = byHTTP{&a.r.challenges}
	}
	if a.o.TLS {
		c.ChallengeSolvers[acme.ChallengeTypeTLSALPN01] = byTLS{&a.r.challenges}
	}
	return c, t.CloseIdleConnections
}

// stored is an account as it is kept.
type stored struct {
	Account acme.Account `json:"account"`
	Key     string       `json:"key"` // PEM
}

// account gives the account with the authority, which is opened at the first order.
func (a *ACME) account(ctx context.Context, client *acmez.Client) (acme.Account, error) {
	key := a.accountKey()
	if err := a.storage.Lock(ctx, "account_"+issuerKey(a.o.Directory)); err != nil {
		return acme.Account{}, fmt.Errorf("lock account: %w", err)
	}
	defer func() { _ = a.storage.Unlock(context.WithoutCancel(ctx), "account_"+issuerKey(a.o.Directory)) }()
	data, err := a.storage.Load(ctx, key)
	if err == nil {
		return readAccount(data)
	}
	if !missing(err) {
		return acme.Account{}, fmt.Errorf("read account: %w", err)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return acme.Account{}, err
	}
	account := acme.Account{TermsOfServiceAgreed: true, PrivateKey: private}
	if a.o.Email != "" {
		account.Contact = []string{"mailto:" + a.o.Email}
	}
	if account, err = client.NewAccount(ctx, account); err != nil {
		return account, fmt.Errorf("open account: %w", err)
	}
	pem, err := certmagic.PEMEncodePrivateKey(private)
	if err != nil {
		return account, err
	}
	if data, err = json.MarshalIndent(stored{account, string(pem)}, "", "  "); err != nil {
		return account, err
	}
	return account, a.storage.Store(ctx, key, data)
}

func readAccount(data []byte) (acme.Account, error) {
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		return acme.Account{}, fmt.Errorf("read account: %w", err)
	}
	private, err := certmagic.PEMDecodePrivateKey([]byte(s.Key))
	if err != nil {
		return acme.Account{}, fmt.Errorf("read account's key: %w", err)
	}
	s.Account.PrivateKey = private
	return s.Account, nil
}
