package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/lestrrat-go/jwx/v3/jws"
)

const (
	minSecretBytes = 32
	minRSABits     = 2048
	maxRSABits     = 8192 // what one verification may cost
	minRSAExponent = 65537
	maxRSAExponent = 1<<31 - 1
	maxPEMBytes    = 64 << 10
)

// key is one verification key and the algorithms it may be used with.
type key struct {
	kid      string
	material any // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey or []byte
	uses     []keyUse
}

// keyUse is one algorithm of a key. The verifier is the library's; the raw bytes received go into it, nothing is
// encoded again.
type keyUse struct {
	alg      *algorithm
	verifier jws.Verifier2
	size     int
}

func newKey(kid string, material any, allowed []*algorithm) (*key, error) {
	k := &key{kid: kid, material: material}
	for _, a := range allowed {
		if !a.fits(material) {
			continue
		}
		v, err := a.verifier()
		if err != nil {
			return nil, err
		}
		k.uses = append(k.uses, keyUse{alg: a, verifier: v, size: a.signatureSize(material)})
	}
	if len(k.uses) == 0 {
		return nil, fmt.Errorf("no configured algorithm fits %s", describe(material))
	}
	return k, nil
}

// use returns what the header's `alg` means for this key, or nil when it does not fit.
func (k *key) use(alg string) *keyUse {
	for i := range k.uses {
		if k.uses[i].alg.name == alg {
			return &k.uses[i]
		}
	}
	return nil
}

// parsePublicKey reads one public key or certificate: PEM, base64 of PEM, or base64 of DER. The dates and the chain of a
// certificate are not looked at: it is the configuration that vouches for the key.
func parsePublicKey(text []byte) (any, error) {
	if len(text) > maxPEMBytes {
		return nil, fmt.Errorf("public key is longer than %d bytes", maxPEMBytes)
	}
	text = bytes.TrimSpace(text)
	if !bytes.HasPrefix(text, pemBegin) {
		der, err := base64.StdEncoding.Strict().DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil || len(der) == 0 {
			return nil, errors.New("public key is neither PEM nor base64 of it")
		}
		if text = bytes.TrimSpace(der); !bytes.HasPrefix(text, pemBegin) {
			return parseDER(der)
		}
	}
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, errors.New("public key is not valid PEM")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("public key has something after the first PEM block: give one key, or a certificate without its chain")
	}
	switch block.Type {
	case "PUBLIC KEY", "CERTIFICATE":
		return parseDER(block.Bytes)
	case "RSA PUBLIC KEY":
		k, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse RSA public key: %w", err)
		}
		return k, checkMaterial(k)
	}
	if strings.Contains(block.Type, "PRIVATE KEY") {
		return nil, errors.New("a private key was given where only the public key belongs")
	}
	return nil, fmt.Errorf("PEM block %q is no public key and no certificate", block.Type)
}

func parseDER(der []byte) (any, error) {
	material, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		cert, certErr := x509.ParseCertificate(der)
		if certErr != nil {
			return nil, fmt.Errorf("parse public key: %w", err)
		}
		material = cert.PublicKey
	}
	return material, checkMaterial(material)
}

// checkMaterial refuses keys that verify but prove little, and keys that make verification expensive.
func checkMaterial(material any) error {
	switch k := material.(type) {
	case *rsa.PublicKey:
		return checkRSA(k)
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return fmt.Errorf("curve %s is not supported", k.Curve.Params().Name)
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return errors.New("Ed25519 key has the wrong length")
		}
		return nil
	}
	return fmt.Errorf("keys of type %T are not supported", material)
}

func checkRSA(k *rsa.PublicKey) error {
	bits := k.N.BitLen()
	if bits < minRSABits || bits > maxRSABits {
		return fmt.Errorf("RSA key has %d bits, want %d to %d", bits, minRSABits, maxRSABits)
	}
	if k.E < minRSAExponent || k.E > maxRSAExponent || k.E&1 == 0 {
		return fmt.Errorf("RSA exponent %d is not an odd number from %d to %d", k.E, minRSAExponent, maxRSAExponent)
	}
	if k.N.Bit(0) == 0 {
		return errors.New("RSA modulus is even")
	}
	if isROCA(k.N) {
		return errors.New("RSA key has the ROCA weakness (CVE-2017-15361): its private key can be computed")
	}
	return nil
}

// isROCA recognises moduli of the broken generator: modulo every small prime they are a power of 65537. A sound key
// passes for one with a chance below 2⁻²⁷ (Nemec et al., The Return of Coppersmith's Attack, §3).
func isROCA(n *big.Int) bool {
	var p, r big.Int
	for _, prime := range rocaPrimes {
		rest := r.Mod(n, p.SetInt64(prime)).Int64()
		power, found := int64(1), false
		for range prime {
			found = found || power == rest
			power = power * 65537 % prime
		}
		if !found {
			return false
		}
	}
	return true
}

func describe(material any) string {
	switch k := material.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("an RSA key of %d bits", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "an EC key on " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "an Ed25519 key"
	case []byte:
		return fmt.Sprintf("a secret of %d bytes", len(k))
	}
	return fmt.Sprintf("a key of type %T", material)
}

var (
	pemBegin   = []byte("-----BEGIN ")
	rocaPrimes = []int64{3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103,
		107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167}
)
