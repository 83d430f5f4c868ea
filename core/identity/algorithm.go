package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"
)

type family uint8

const (
	familyRSA family = iota
	familyECDSA
	familyEdDSA
	familyHMAC
)

// algorithm is one signature algorithm of RFC 7518 §3.1 and RFC 8037 §3.1 and what it asks of a key.
type algorithm struct {
	name   string
	family family
	curve  elliptic.Curve // ECDSA
	hash   int            // HMAC: bytes of the hash, the least a secret may have (RFC 7518 §3.2)
}

// fits reports whether the key is of the kind, curve and length the algorithm needs (RFC 8725 §3.1).
func (a *algorithm) fits(material any) bool {
	switch k := material.(type) {
	case *rsa.PublicKey:
		return a.family == familyRSA
	case *ecdsa.PublicKey:
		return a.family == familyECDSA && k.Curve == a.curve
	case ed25519.PublicKey:
		return a.family == familyEdDSA
	case []byte:
		return a.family == familyHMAC && len(k) >= a.hash
	}
	return false
}

// signatureSize is the one length a signature of this algorithm and key has.
func (a *algorithm) signatureSize(material any) int {
	switch k := material.(type) {
	case *rsa.PublicKey:
		return k.Size()
	case *ecdsa.PublicKey:
		return 2 * ((k.Curve.Params().BitSize + 7) / 8)
	case ed25519.PublicKey:
		return ed25519.SignatureSize
	default:
		return a.hash
	}
}

func (a *algorithm) verifier() (jws.Verifier2, error) {
	alg, ok := jwa.LookupSignatureAlgorithm(a.name)
	if !ok {
		return nil, fmt.Errorf("algorithm %s is not in the library", a.name)
	}
	return jws.VerifierFor(alg)
}

// parseAlgorithms reads the configured names; `none` and everything we do not know is refused.
func parseAlgorithms(names []string) ([]*algorithm, error) {
	list := make([]*algorithm, 0, len(names))
	for _, name := range names {
		i := slices.IndexFunc(algorithms, func(a algorithm) bool { return a.name == name })
		if i < 0 {
			return nil, fmt.Errorf("algorithm %q is unknown", name)
		}
		if slices.Contains(list, &algorithms[i]) {
			return nil, fmt.Errorf("algorithm %s is listed twice", name)
		}
		list = append(list, &algorithms[i])
	}
	return list, nil
}

var (
	defaultAlgorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}
	defaultHMAC       = []string{"HS256"}
)

var algorithms = []algorithm{
	{name: "RS256", family: familyRSA},
	{name: "RS384", family: familyRSA},
	{name: "RS512", family: familyRSA},
	{name: "PS256", family: familyRSA},
	{name: "PS384", family: familyRSA},
	{name: "PS512", family: familyRSA},
	{name: "ES256", family: familyECDSA, curve: elliptic.P256()},
	{name: "ES384", family: familyECDSA, curve: elliptic.P384()},
	{name: "ES512", family: familyECDSA, curve: elliptic.P521()},
	{name: "EdDSA", family: familyEdDSA},
	{name: "HS256", family: familyHMAC, hash: 32},
	{name: "HS384", family: familyHMAC, hash: 48},
	{name: "HS512", family: familyHMAC, hash: 64},
}
