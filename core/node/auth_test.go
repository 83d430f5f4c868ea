package node_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

const authenticated = `
version: 1
listeners: [{address: "127.0.0.1:0"}]
jwt:
  own: {issuer: own, secret: {file: secret}, algorithms: [HS256], leeway: 0, from: ["header:authorization", "header:x-token", "cookie:session", "query:token"], claims: {env: [production, staging]}}
  partner: {issuer: partner, public_key: {file: key.pem}, algorithms: [RS256]}
roles: {engineer: [models.train], admin: ["*"]}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {name: own, match: {path: /own}, auth: {jwt: own}, upstream: api}
  - {name: any, match: {path: /any}, auth: {any: [{jwt: own}, {jwt: partner}]}, upstream: api}
  - {name: models, match: {path: "/models/{team}"}, auth: {jwt: own}, upstream: api,
     require: {permissions: [models.train], claims: {team: "${path.team}", env: production}}}
`

func TestAuthentication(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	r := coretest.Start(t, authenticated, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), coretest.Options{Files: map[string]string{
		"secret": hmacSecret, "key.pem": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	}})
	claims := func(change ...any) map[string]any {
		c := map[string]any{"iss": "own", "sub": "alice", "exp": 4e9, "env": "production", "team": "red", "roles": []string{"engineer"}}
		for i := 0; i+1 < len(change); i += 2 {
			c[change[i].(string)] = change[i+1]
		}
		return c
	}
	own := mintHS256(t, claims())
	partner := mintRS256(t, key, map[string]any{"iss": "partner", "sub": "bob", "exp": 4e9})
	f := func(path string, want int, reason string, header ...string) {
		t.Helper()
		status, h, body := r.Get(path, header...)
		if status != want {
			t.Errorf("%s %.40q: %d %q", path, header, status, body)
		}
		if reason != "" {
			id := `"request_id":"` + h.Get("X-Request-Id") + `"`
			coretest.Eventually(t, "the reason "+reason, func() bool {
				line := grep(r.Access.String(), id)
				return strings.Contains(line, `"reason":"`+reason+`"`)
			})
		}
	}
	const bearer = "Authorization"
	f("/own", 200, "", bearer, "Bearer "+own)
	f("/own", 200, "", bearer, "bearer "+own)
	f("/own", 200, "", "X-Token", own)
	f("/own", 200, "", "Cookie", "a=b; session="+own+"; c=d")
	f("/own?x=y&token="+own, 200, "")
	f("/own", 401, "missing")
	f("/own", 401, "missing", "Cookie", "xsession="+own)
	// Two credentials are one too many, wherever they stand.
	f("/own", 401, "ambiguous", bearer, "Bearer "+own, bearer, "Bearer "+own)
	f("/own", 401, "ambiguous", bearer, "Bearer "+own, "X-Token", own)
	f("/own", 401, "ambiguous", "Cookie", "session="+own+"; session="+own)
	f("/own?token="+own+"&token="+own, 401, "ambiguous")
	f("/own", 401, "", bearer, "Basic "+own)
	f("/own", 401, "", bearer, "Bearer "+mintHS256(t, claims("exp", 1)))
	f("/own", 401, "", bearer, "Bearer "+mintHS256(t, claims("env", "test")))
	f("/own", 401, "", bearer, "Bearer "+partner)
	// The next provider is asked when a token is another's, and only then.
	f("/any", 200, "", bearer, "Bearer "+own)
	f("/any", 200, "", bearer, "Bearer "+partner)
	f("/any", 401, "", bearer, "Bearer "+mintHS256(t, claims("exp", 1)))
	f("/any", 401, "missing")
	f("/models/red", 200, "", bearer, "Bearer "+own)
	f("/models/blue", 403, "require", bearer, "Bearer "+own)
	f("/models/red", 403, "require", bearer, "Bearer "+mintHS256(t, claims("roles", []string{"user"})))
	f("/models/red", 403, "require", bearer, "Bearer "+mintHS256(t, claims("env", "staging")))
	f("/models/red", 200, "", bearer, "Bearer "+mintHS256(t, claims("roles", []string{"admin"})))
	if log := r.Access.String(); strings.Contains(log, own) || strings.Contains(log, hmacSecret) {
		t.Error("a token is in the log")
	}
}

func mintRS256(t *testing.T, key *rsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	e := base64.RawURLEncoding
	signed := e.EncodeToString([]byte(`{"alg":"RS256"}`)) + "." + e.EncodeToString(body)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + e.EncodeToString(signature)
}
