package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirproxy/weir/core/wasm/asm"
)

// setupScript gives every script two certificates with their keys, modules, and an address that is taken.
func setupScript(e *testscript.Env) error {
	for _, name := range []string{"a", "b"} {
		if err := writePair(e.WorkDir, name); err != nil {
			return err
		}
	}
	// The smallest module there is: it has none of what a filter needs.
	if err := os.WriteFile(filepath.Join(e.WorkDir, "empty.wasm"), []byte("\x00asm\x01\x00\x00\x00"), 0o600); err != nil {
		return err
	}
	if err := writeModules(e.WorkDir); err != nil {
		return err
	}
	e.Values[serverKey{}] = httptest.NewUnstartedServer(nil)
	if err := os.WriteFile(filepath.Join(e.WorkDir, "pass.wasm"), passGuest(), 0o600); err != nil {
		return err
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	e.Defer(func() { taken.Close() })
	e.Vars = append(e.Vars, "TAKEN="+taken.Addr().String())
	return nil
}

// passGuest is a filter of the http-wasm ABI that lets everything pass.
func passGuest() []byte {
	var m asm.Module
	m.Memory(1, 1)
	m.Export("memory", 2, 0)
	m.Export("handle_request", 0, m.Func(nil, asm.T(asm.I64), nil, asm.Const64(1)))
	m.Export("handle_response", 0, m.Func(asm.T(asm.I32, asm.I32), nil, nil))
	return m.Bytes()
}

func writePair(dir, name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name + ".example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}
