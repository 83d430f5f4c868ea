package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

const h2specProgram = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"

var h2specSum = regexp.MustCompile(`(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed`)

// h2spec has the program of that name, in strict mode, look at a weir before an upstream, over "tls" or "h2c".
func h2spec(weir, over string, out io.Writer) error {
	tmp, err := os.MkdirTemp("", "weir-score-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "an answer that is long enough for small windows\n")
	}))
	defer up.Close()
	address, err := freeAddress()
	if err != nil {
		return err
	}
	extra, args := "h2c: true", []string{}
	if over == "tls" {
		if err := selfSigned(tmp); err != nil {
			return err
		}
		extra, args = "tls: {certificates: [{cert: a.crt, key: a.key}]}", []string{"-t", "-k"}
	}
	config := filepath.Join(tmp, "weir.yaml")
	text := fmt.Sprintf("version: 1\naccess_log: {output: \"off\"}\nlisteners: [{address: %q, %s}]\nupstreams: {api: {endpoints: [%q]}}\nroutes: [{match: {path: /*}, auth: none, upstream: api}]\n", address, extra, up.URL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	var log bytes.Buffer
	node := exec.Command(weir, "run", "-c", config)
	node.Stdout, node.Stderr = &log, &log
	if err := node.Start(); err != nil {
		return err
	}
	defer func() {
		_ = node.Process.Signal(syscall.SIGTERM)
		_ = node.Wait()
	}()
	if err := answers(address); err != nil {
		return fmt.Errorf("%w\n%s", err, log.String())
	}
	host, port, _ := net.SplitHostPort(address)
	spec := exec.Command("go", append([]string{"run", h2specProgram, "--strict", "-h", host, "-p", port}, args...)...)
	text2, err := spec.CombinedOutput()
	m := h2specSum.FindSubmatch(text2)
	if m == nil {
		return fmt.Errorf("h2spec: %w\n%s", err, text2)
	}
	_, _ = out.Write(text2)
	id := "A13-" + over
	fmt.Fprintf(out, "score %s passed %s\nscore %s failed %s\n", id, m[2], id, m[4])
	return nil
}

// answers waits until somebody listens.
func answers(address string) error {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return err
		}
	}
}

func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// selfSigned writes a.crt and a.key.
func selfSigned(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "a.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "a.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}
