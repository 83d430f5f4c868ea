package coretest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// RegistryOptions of a registry. The zero value speaks plain HTTP with everybody.
type RegistryOptions struct {
	Certificate        *Issued // speak TLS
	Username, Password string  // ask for them
}

// StartRegistry runs a real registry of artifacts and container images on a port of its own until the test ends, and gives its
// address.
func StartRegistry(t testing.TB, o RegistryOptions) (address string) {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Fatal("docker-registry is needed; `make tools` installs it")
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return strconv.Quote(path)
	}
	config := "version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: " + strconv.Quote(dir) + "}}\nhttp:\n  addr: \"127.0.0.1:0\"\n"
	if c := o.Certificate; c != nil {
		config += "  tls: {certificate: " + write("own.crt", c.Cert) + ", key: " + write("own.key", c.Key) + "}\n"
	}
	if o.Username != "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(o.Password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		config += "auth: {htpasswd: {realm: weir, path: " + write("users", o.Username+":"+string(hash)+"\n") + "}}\n"
	}
	write("registry.yml", config)
	var log Buffer
	c := exec.Command(program, "serve", filepath.Join(dir, "registry.yml"))
	c.Stdout, c.Stderr = &log, &log
	c.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	listens := regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)
	Eventually(t, "the registry listens", func() bool {
		if m := listens.FindStringSubmatch(log.String()); m != nil {
			address = m[1]
		}
		return address != ""
	})
	return address
}
