package main

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLimitByCurl is the acceptance test of the documents that weir comes from: 100 a minute for an address, 105
// requests by curl spread over 10 s, of which 100 pass and 5 are refused.
func TestLimitByCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("curl is needed; `make tools` installs it")
	}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }))
	defer up.Close()
	address := freeAddress(t)
	file := filepath.Join(t.TempDir(), "weir.yaml")
	writeFile(t, file, `
version: 1
access_log: {output: "off"}
listeners: [{address: "`+address+`"}]
upstreams: {api: {endpoints: ["`+up.URL+`"]}}
routes:
  - name: version
    match: {path: /api/version}
    auth: none
    limits: [{name: per-ip, key: ip, rate: 100/m}]
    upstream: api
`)
	p := startWeir(t, nil, "run", "-c", file)
	p.wait("weir listens", func() bool { return listens(address) })
	count := map[string]int{}
	tick := time.NewTicker(10 * time.Second / 105)
	defer tick.Stop()
	var last string
	for range 105 {
		<-tick.C
		out, err := exec.Command("curl", "-s", "-i", "http://"+address+"/api/version").CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v\n%s", err, out)
		}
		last = string(out)
		count[strings.Fields(last)[1]]++
	}
	if count["200"] != 100 || count["429"] != 5 {
		t.Errorf("got %v, want 100 × 200 and 5 × 429", count)
	}
	for _, want := range []string{"X-RateLimit-Limit: 100\r\n", "X-RateLimit-Remaining: 0\r\n", "X-RateLimit-Reset: ", "Retry-After: ",
		`{"error":"Too Many Requests","message":`} {
		if !strings.Contains(last, want) {
			t.Errorf("the refusal lacks %q:\n%s", want, last)
		}
	}
}
