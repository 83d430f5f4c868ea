package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/weirproxy/weir/core/coretest"
)

func listens(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// guarded is a configuration with every stage on; tag is what the Wasm filter says, extra what stands at the end.
func guarded(address, admin, upstream, key, filter, tag, extra string) string {
	return fmt.Sprintf(`
version: 1
access_log: {output: "off"}
listeners: [{address: %q}]
admin: {address: %q}
timeouts: {drain: 10s}
jwt:
  test: {issuer: test, audiences: [api], algorithms: [ES256], public_key: {file: %q}}
wasm:
  tag: {file: %q, config: {header: x-tag, value: %q}, instances: 128}
upstreams:
  api:
    endpoints: [%q]
    breaker: {consecutive_failures: 5, open_for: 5s, half_open_requests: 1}
routes:
  - name: api
    match: {path: /*}
    auth: {jwt: test}
    limits:
      - {name: per-ip, key: ip, rate: 100000000/h}
      - {name: per-user, key: subject, rate: 100000000/h}
    wasm: [tag]
    upstream: api
%s`, address, admin, key, filter, tag, upstream, extra)
}

func makeToken(t *testing.T, keyFile string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	token, err := jwt.NewBuilder().Issuer("test").Audience([]string{"api"}).Subject("alice").Expiration(time.Now().Add(time.Hour)).Build()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := jwt.Sign(token, jwt.WithKey(jwa.ES256(), key))
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

// TestReloadUnderLoad reloads five times a second, valid and broken files in turn, some of which change only the filter's
// configuration, while clients verify every body. WEIR_SOAK sets how long; with wrk on the machine it adds its load.
func TestReloadUnderLoad(t *testing.T) {
	length := 6 * time.Second
	if s := os.Getenv("WEIR_SOAK"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	filter, keyFile, file := buildFilter(t, "01-tag-filter"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "weir.yaml")
	token := makeToken(t, keyFile)
	var asked, answered atomic.Int64
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "%s %s %s %s", r.Method, r.RequestURI, r.Header.Get("X-Tag"), body); err == nil {
			answered.Add(1)
		}
	}))
	defer up.Close()
	address, admin := freeAddress(t), freeAddress(t)
	good := func(tag string) string { return guarded(address, admin, up.URL, keyFile, filter, tag, "") }
	broken := guarded(address, admin, up.URL, keyFile, filter, "x", "  - {name: broken, match: {path: /x}, auth: none, upstraem: api}\n")
	writeFile(t, file, good("tag-0"))
	p := startWeir(t, nil, "run", "-c", file)
	p.wait("weir listens", func() bool { return listens(address) && listens(admin) })

	stop := make(chan struct{})
	var clients sync.WaitGroup
	var checked, failed atomic.Int64
	for n := range 8 {
		clients.Go(func() { verify(t, n, address, token, stop, &checked, &failed) })
	}
	load := startWrk(t, address, token, length)
	time.Sleep(time.Second) // warm: what is compared later is the steady state
	before, goroutines := p.resources(), count(t, admin, "go_goroutines")
	var half resources
	sent := 0
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(length); time.Now().Before(end); {
		<-tick.C
		sent++
		switch sent % 3 {
		case 0:
			writeFile(t, file, broken)
		default:
			writeFile(t, file, good("tag-"+strconv.Itoa(sent)))
		}
		p.signal(syscall.SIGHUP)
		if half == (resources{}) && time.Until(end) < length/2 {
			half = p.resources()
		}
	}
	byWrk := load()
	close(stop)
	clients.Wait()
	writeFile(t, file, good("tag-end"))
	attempts := count(t, admin, "weir_reload_attempts_total")
	p.signal(syscall.SIGHUP)
	p.wait("the last reload", func() bool { return count(t, admin, "weir_reload_attempts_total") > attempts })
	time.Sleep(500 * time.Millisecond)
	after, goroutinesAfter := p.resources(), count(t, admin, "go_goroutines")
	t.Logf("%d reloads sent, %v tried, %v refused; %d requests verified, %d by wrk, %d failed; upstream asked %d, answered %d",
		sent, count(t, admin, "weir_reload_attempts_total"), count(t, admin, "weir_reload_errors_total"), checked.Load(), byWrk, failed.Load(), asked.Load(), answered.Load())
	t.Logf("rss %d → %d → %d KiB, fds %d → %d → %d, goroutines %v → %v", before.rss, half.rss, after.rss, before.fds, half.fds, after.fds, goroutines, goroutinesAfter)
	for line := range strings.Lines(p.stderr.String()) {
		if !strings.Contains(line, `"reload refused`) && !strings.Contains(line, `"reloaded"`) {
			t.Logf("log: %s", line)
		}
	}
	coretest.Score(t, "G1", "failed", float64(failed.Load()))
	coretest.Score(t, "G1", "reloads", float64(sent))
	if failed.Load() != 0 || asked.Load() != answered.Load() {
		t.Errorf("%d of %d failed; the upstream was asked %d times and answered %d", failed.Load(), checked.Load(), asked.Load(), answered.Load())
	}
	// Signals that come while a reload runs are one reload: on a machine that has little time for it there are fewer.
	if tried := count(t, admin, "weir_reload_attempts_total"); tried < float64(sent)/4 {
		t.Errorf("only %v of %d reloads were tried", tried, sent)
	}
	if count(t, admin, "weir_reload_errors_total") == 0 {
		t.Error("no broken file was refused")
	}
	if after.rss > half.rss+half.rss/5+16<<10 || after.fds > before.fds+8 || goroutinesAfter > goroutines+8 {
		t.Errorf("not flat")
	}
	p.signal(syscall.SIGTERM)
	if code := p.exit(15 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// verify asks with bodies of its own and checks that each comes back whole, tagged by one of the filter's configurations.
func verify(t *testing.T, n int, address, token string, stop chan struct{}, checked, failed *atomic.Int64) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	tag := regexp.MustCompile(`^tag-(\d+|end)$`)
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		path, body := fmt.Sprintf("/c%d/%d", n, i), strings.Repeat(strconv.Itoa(i)+".", i%500)
		req, _ := http.NewRequest("POST", "http://"+address+path, strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+token)
		got, err := ask(client, req)
		checked.Add(1)
		f := strings.SplitN(got, " ", 4)
		if err != nil || len(f) != 4 || f[0] != "POST" || f[1] != path || !tag.MatchString(f[2]) || f[3] != body {
			if failed.Add(1) < 5 {
				t.Errorf("client %d request %d: %q, %v", n, i, got, err)
			}
		}
	}
}

func ask(client *http.Client, req *http.Request) (string, error) {
	answer, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != 200 {
		err = fmt.Errorf("status %d", answer.StatusCode)
	}
	return string(body), err
}

// startWrk adds the load of wrk, if there is one; the function waits for its end and gives the requests it made.
func startWrk(t *testing.T, address, token string, length time.Duration) func() int {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		t.Log("no wrk on this machine: the verifying clients are all the load")
		return func() int { return 0 }
	}
	cmd := exec.Command(wrk, "-t1", "-c64", "--timeout", "10s", fmt.Sprintf("-d%ds", int(length.Seconds())+1), "-H", "Authorization: Bearer "+token, "http://"+address+"/wrk")
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() int {
		if err := cmd.Wait(); err != nil {
			t.Errorf("wrk: %v", err)
		}
		text := out.String()
		if strings.Contains(text, "Socket errors") || strings.Contains(text, "Non-2xx") {
			t.Errorf("wrk saw failures:\n%s", text)
		}
		t.Logf("wrk:\n%s", text)
		m := regexp.MustCompile(`(\d+) requests in`).FindStringSubmatch(text)
		if m == nil {
			return 0
		}
		n, _ := strconv.Atoi(m[1])
		return n
	}
}

// count reads a metric without labels.
func count(t *testing.T, admin, name string) float64 {
	t.Helper()
	answer, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			f, _ := strconv.ParseFloat(strings.TrimSpace(v), 64)
			return f
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
