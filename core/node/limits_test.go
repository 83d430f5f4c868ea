package node_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
)

const hmacSecret = "0123456789abcdef0123456789abcdef"

func mintHS256(t testing.TB, claims map[string]any) string {
	t.Helper()
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	e := base64.RawURLEncoding
	signed := e.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + e.EncodeToString(body)
	mac := hmac.New(sha256.New, []byte(hmacSecret))
	mac.Write([]byte(signed))
	return signed + "." + e.EncodeToString(mac.Sum(nil))
}

const limited = `
version: 1
listeners: [{address: "127.0.0.1:0"}]
jwt: {sso: {secret: {file: secret}, algorithms: [HS256]}}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {name: version, match: {path: /api/version}, auth: none, upstream: api, limits: [{name: per-ip, key: ip, rate: 100/m}]}
  - {name: early, match: {path: /early}, auth: {jwt: sso}, upstream: api, limits: [{key: ip, rate: 3/h}]}
  - {name: user, match: {path: /user}, auth: {jwt: sso}, upstream: api,
     limits: [{name: ip, key: ip, rate: 1000/h}, {name: subject, key: subject, rate: 2/h}, {name: team, key: "claim:team", rate: 500/h}]}
  - {name: rights, match: {path: /rights}, auth: {jwt: sso}, require: {scopes: [write]}, upstream: api, limits: [{key: subject, rate: 1/h}]}
  - {name: key, match: {path: /key}, auth: none, upstream: api, limits: [{key: "header:x-key", rate: 1/h}, {name: all, key: route, rate: 10/h}]}
`

func startLimited(t *testing.T) *coretest.Rig {
	return coretest.Start(t, limited, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-RateLimit-Limit", "7") // an upstream's own limit is not weir's
		w.Header().Set("Retry-After", "9")
	}), coretest.Options{Files: map[string]string{"secret": hmacSecret}})
}

func TestHundredAMinute(t *testing.T) {
	r := startLimited(t)
	count := map[int]int{}
	for i := range 105 {
		before := time.Now().Unix()
		status, h, body := r.Get("/api/version")
		count[status]++
		left, _ := strconv.Atoi(h.Get("X-RateLimit-Remaining"))
		reset, _ := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64)
		if h.Values("X-RateLimit-Limit")[0] != "100" || len(h.Values("X-RateLimit-Limit")) != 1 || left != max(99-i, 0) || reset < before || reset > before+62 {
			t.Fatalf("%d: %v", i, h)
		}
		if status == 429 {
			wait, err := strconv.Atoi(h.Get("Retry-After"))
			if err != nil || wait < 1 || wait > 60 || !strings.Contains(body, `"error":"Too Many Requests"`) {
				t.Errorf("%v %q", h, body)
			}
		} else if h.Get("Retry-After") != "9" {
			t.Errorf("the upstream's Retry-After became %q", h.Get("Retry-After"))
		}
	}
	if count[200] != 100 || count[429] != 5 {
		t.Error(count)
	}
	if m := string(r.Node.Metrics()); !strings.Contains(m, `rate_limit_exceeded_total{route="version",rule="per-ip"} 5`) {
		t.Error(grep(m, "rate_limit_exceeded"))
	}
	if !strings.Contains(r.Access.String(), `"rule":"per-ip"`) {
		coretest.Eventually(t, "the rule in the log", func() bool { return strings.Contains(r.Access.String(), `"rule":"per-ip"`) })
	}
}

func TestEarlyAndLateLimits(t *testing.T) {
	r := startLimited(t)
	f := func(path string, want int, header ...string) http.Header {
		t.Helper()
		status, h, _ := r.Get(path, header...)
		if status != want {
			t.Fatalf("%s: %d, want %d", path, status, want)
		}
		return h
	}
	token := func(sub, scope string) string {
		return "Bearer " + mintHS256(t, map[string]any{"sub": sub, "exp": 4e9, "team": "red", "scope": scope})
	}
	// Without a credential, too, the limit by address is charged, and refuses before the credential is looked at.
	for range 3 {
		if h := f("/early", 401, "Authorization", "Bearer bad"); h.Get("X-RateLimit-Limit") != "3" {
			t.Error(h)
		}
	}
	f("/early", 429, "Authorization", token("alice", ""))
	// The client is told of the limit that is closest.
	for i := range 2 {
		if h := f("/user", 200, "Authorization", token("alice", "")); h.Get("X-RateLimit-Limit") != "2" || h.Get("X-RateLimit-Remaining") != strconv.Itoa(1-i) {
			t.Error(h)
		}
	}
	f("/user", 429, "Authorization", token("alice", ""))
	f("/user", 200, "Authorization", token("bob", ""))
	// A refusal of rights costs nothing of the budget.
	for range 3 {
		f("/rights", 403, "Authorization", token("carol", "read"))
	}
	f("/rights", 200, "Authorization", token("carol", "read write"))
	f("/rights", 429, "Authorization", token("carol", "read write"))
	f("/key", 200, "X-Key", "a")
	f("/key", 429, "X-Key", "a")
	f("/key", 200, "X-Key", "b")
}
