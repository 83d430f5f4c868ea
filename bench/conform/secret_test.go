package main

import (
	"encoding/base64"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/node"
)

// secret stands in everything that is one in these requests.
const secret = "hunter2SECRET"

// secretFields are all the places of a head where a credential may stand.
var secretFields = "Authorization: Bearer " + secret + "\r\nCookie: session=" + secret + "; theme=dark\r\nX-Api-Key: " + secret +
	"\r\nProxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+secret)) + "\r\nX-Auth-Token: " + secret + "\r\n"

// withTarget finds where fields can be put into a request, and its target.
var withTarget = regexp.MustCompile(`^([A-Za-z]+ )([^ \r\n]+)( HTTP/1\.[01]\r?\n)`)

// TestNoSecretIsLogged plays the corpus with credentials in every request, whole and broken, at the most talkative log level:
// none is in the process log, in the access log or in an answer of weir's own.
func TestNoSecretIsLogged(t *testing.T) {
	o, err := openOrigin()
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	yaml := `
version: 1
log: {level: debug}
access_log: {output: stdout}
listeners: [{address: "127.0.0.1:0"}]
timeouts: {header: 100ms, body_idle: 100ms, idle: 100ms}
jwt: {sso: {secret: {file: secret}, algorithms: [HS256], from: ["header:authorization", "cookie:session", "query:access_token"]}}
upstreams: {origin: {endpoints: ["http://@ORIGIN@"], timeouts: {response_header: 1s}}}
routes:
  - {name: guarded, match: {path: /guarded/*}, auth: {jwt: sso}, upstream: origin}
  - {name: all, match: {path: /*}, auth: none, upstream: origin}
`
	var process, access coretest.Buffer
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/secret", []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := node.Start(node.Options{
		Load: func() (*config.Spec, error) {
			return config.Parse(dir+"/weir.yaml", []byte(strings.Replace(yaml, "@ORIGIN@", o.address(), 1)), nil)
		},
		Log: &process, Stdout: &access,
	})
	if err != nil {
		t.Fatal(err)
	}
	address := n.Addresses()[n.Plan().Listeners[0].Key].String()
	var answers strings.Builder
	played := 0
	play := func(in string) {
		c, err := dial(address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.send(in)
		_ = c.CloseWrite()
		for range 8 {
			m, how := c.answer("GET", 300*time.Millisecond)
			if how != complete {
				break
			}
			if !strings.Contains(m.body, "@") { // else the origin's, which echoes what it gets
				answers.WriteString(m.line + m.body)
				for _, f := range m.fields {
					answers.WriteString(f.name + f.value + "\n")
				}
			}
		}
		answers.WriteString(string(c.buf))
		played++
	}
	for _, k := range requests() {
		in := strings.Join(k.pieces, "") + k.in
		m := withTarget.FindStringSubmatchIndex(in)
		if m == nil || len(in) > 64<<10 {
			play(in + secretFields)
			continue
		}
		line, rest := in[:m[1]], in[m[1]:]
		mark := "?"
		if strings.Contains(line, "?") {
			mark = "&"
		}
		query := mark + "access_token=" + secret + "&api_key=" + secret + "&password=" + secret
		target := in[:m[5]]
		play(line + secretFields + rest)
		play(target + query + in[m[6]:m[1]] + rest)
		play(in[:m[4]] + "/guarded" + in[m[4]:m[5]] + query + in[m[6]:m[1]] + secretFields + rest)
	}
	n.Drain()
	found := 0
	for name, text := range map[string]string{"process log": process.String(), "access log": access.String(), "answers": answers.String()} {
		if len(text) == 0 {
			t.Errorf("the %s is empty", name)
		}
		for line := range strings.Lines(text) {
			if strings.Contains(line, secret) || strings.Contains(line, base64.StdEncoding.EncodeToString([]byte("user:"+secret))) {
				if found++; found < 10 {
					t.Errorf("%s: %.300q", name, line)
				}
			}
		}
	}
	t.Logf("%d requests; %d bytes of process log, %d of access log, %d of answers", played, len(process.String()), len(access.String()), answers.Len())
	coretest.Score(t, "G6", "secrets", float64(found))
	if !strings.Contains(access.String(), "REDACTED") {
		t.Error("nothing was redacted: were there secrets at all?")
	}
}
