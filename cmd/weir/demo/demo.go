// Package demo is what `weir run` serves when it is given no configuration: a guarded route of each sort, and an upstream in
// the same process that shows what reaches it.
package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/examples/demo"
)

// Source is the demo's configuration.
//
//go:embed demo.yaml
var Source []byte

// Demo is a running demo upstream with the key pair that its tokens are signed with.
type Demo struct {
	Token    string // valid for a day
	upstream net.Listener
	public   string
}

// Start makes a key pair and a token and starts the upstream.
func Start() (*Demo, error) {
	if _, err := demo.Filter(); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make demo key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encode demo key: %w", err)
	}
	d := &Demo{public: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
	now := time.Now()
	token, err := jwt.NewBuilder().Issuer("weir-demo").Audience([]string{"demo"}).Subject("alice").
		IssuedAt(now).Expiration(now.Add(24*time.Hour)).Claim("roles", []string{"user"}).Build()
	if err != nil {
		return nil, fmt.Errorf("make demo token: %w", err)
	}
	signed, err := jwt.Sign(token, jwt.WithKey(jwa.ES256(), key))
	if err != nil {
		return nil, fmt.Errorf("sign demo token: %w", err)
	}
	d.Token = string(signed)
	if d.upstream, err = startUpstream(); err != nil {
		return nil, fmt.Errorf("start demo upstream: %w", err)
	}
	return d, nil
}

// Open gives the one file that the demo's configuration names: the example filter, which is in the binary.
func Open(string) ([]byte, error) { return demo.Filter() }

// Close stops the upstream.
func (d *Demo) Close() error { return d.upstream.Close() }

// Load parses the demo's configuration; it fits node.Options.
func (d *Demo) Load() (*config.Spec, error) {
	return config.Parse("demo.yaml", Source, func(name string) (string, bool) {
		switch name {
		case "WEIR_DEMO_UPSTREAM":
			return d.upstream.Addr().String(), true
		case "WEIR_DEMO_KEY":
			return d.public, true
		}
		return os.LookupEnv(name)
	})
}
