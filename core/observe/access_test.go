package observe

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

// logged gives the lines that a log to memory has when do is done with it.
func logged(t testing.TB, o AccessLogOptions, do func(a *AccessLog)) []string {
	t.Helper()
	var out bytes.Buffer
	o.To = &out
	a := MustAccess(t, o)
	do(a)
	if err := a.Close(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	return strings.SplitAfter(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func TestAccessLine(t *testing.T) {
	x := sample()
	defer exchange.Release(x)
	x.Record.Fault, x.Record.Reason, x.Record.Filter, x.Record.Rule = fault.LimitExceeded, "too many", "tagger", "per-ip"
	line := logged(t, AccessLogOptions{}, func(a *AccessLog) { a.Record(x) })[0]

	var got struct {
		Timestamp string `json:"timestamp"`
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatal(err)
	}
	if at, err := time.Parse(timeLayout, got.Timestamp); err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("timestamp %q", got.Timestamp)
	}
	if got.RequestID != string(x.RequestID) {
		t.Errorf("request_id %q", got.RequestID)
	}
	_, rest, _ := strings.Cut(line, `,"client_ip"`)
	want := `:"203.0.113.9","peer":"10.0.0.1:1234","user_id":"alice","method":"POST","host":"api.example.com:8443",` +
		`"path":"/v1/chat?page=2&access_token=REDACTED&x=1","protocol":"HTTP/1.1","status_code":200,` +
		`"latency_ms":12.005,"upstream_ms":2.034,"ttfb_ms":3.034,"bytes_in":10,"bytes_out":20,` +
		`"route":"chat","upstream":"api","endpoint":"10.0.0.1:9000","tries":1,"user_agent":"curl/8.0 \"quoted\"",` +
		`"fault":"limit_exceeded","reason":"too many","filter":"tagger","rule":"per-ip"}`
	if rest != want {
		t.Errorf("got  %s\nwant %s", rest, want)
	}
}

func TestAccessLineLeavesOutWhatIsEmpty(t *testing.T) {
	x := exchange.Acquire()
	defer exchange.Release(x)
	line := logged(t, AccessLogOptions{}, func(a *AccessLog) { a.Record(x) })[0]
	_, rest, _ := strings.Cut(line, `Z"`)
	if rest != `,"path":"","latency_ms":0.000,"bytes_in":0,"bytes_out":0}` {
		t.Error(rest)
	}
	// no answer from the upstream: its time goes on to the end; the client left before it was told a status
	x.Record = exchange.Record{Start: 1e6, UpstreamStart: 2e6, End: 5e6, Fault: fault.ClientGone}
	x.Request.Version = exchange.HTTP20
	line = logged(t, AccessLogOptions{}, func(a *AccessLog) { a.Record(x) })[0]
	_, rest, _ = strings.Cut(line, `Z"`)
	if rest != `,"path":"","protocol":"HTTP/2.0","status_code":499,"latency_ms":4.000,"upstream_ms":3.000,"bytes_in":0,"bytes_out":0,"fault":"client_gone"}` {
		t.Error(rest)
	}
}

func TestAccessLogKeepsSecrets(t *testing.T) {
	x := sample()
	defer exchange.Release(x)
	lines := logged(t, AccessLogOptions{Redact: []string{"Magic-Link"}}, func(a *AccessLog) {
		for _, q := range []string{"token=s3cr3t", "a=b&API-KEY=s3cr3t;s3cr3t", "magic_link=s3cr3t", "x=1;%74oken=s3cr3t"} {
			x.Request.Query = []byte(q)
			a.Record(x)
		}
	})
	if all := strings.Join(lines, ""); len(lines) != 4 || strings.Contains(all, "s3cr3t") || strings.Count(all, "REDACTED") != 4 {
		t.Error(all)
	}
}

func TestRedact(t *testing.T) {
	r := newRedactor([]string{"über", strings.Repeat("x", 100), ""})
	f := func(query, want string) {
		t.Helper()
		if got := string(r.appendQuery(nil, []byte(query))); got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
	// nothing to hide
	f("", "")
	f("a=1&b=2", "a=1&b=2")
	f("token", "token")
	f("tokens=1&mytoken=2", "tokens=1&mytoken=2")
	f("a=token=1", "a=token=1")
	f("a==&=b&&;", "a==&=b&&;")
	f("t%zz=1&%=2&t%7=3", "t%zz=1&%=2&t%7=3")
	f(strings.Repeat("t", 100)+"=1", strings.Repeat("t", 100)+"=1")
	// in every spelling
	f("token=x", "token=REDACTED")
	f("TOKEN=x&b=1", "TOKEN=REDACTED&b=1")
	f("api_key=x&api-key=y&ApiKey=z", "api_key=REDACTED&api-key=REDACTED&ApiKey=REDACTED")
	f("access%5Ftoken=x", "access%5Ftoken=REDACTED")
	f("%61ccess%5ftoken=x", "%61ccess%5ftoken=REDACTED")
	f("token[]=x&token%5B0%5D=y", "token[]=REDACTED&token%5B0%5D=REDACTED")
	f("über=1", "über=REDACTED")
	// the value goes on to the next &
	f("token=a=b", "token=REDACTED")
	f("token=a;b&c=1", "token=REDACTED&c=1")
	f("a=1;token=b", "a=1;token=REDACTED")
	f("token=&a=1", "token=REDACTED&a=1")
	f("token=a&token=b", "token=REDACTED&token=REDACTED")
	// escaped for JSON
	f("a=\"\xff&token=\"", `a=\"\ufffd&token=REDACTED`)
}

func TestEscape(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := string(appendEscaped([]byte(nil), []byte(in))); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	f("plain", "plain")
	f(`"\/`, `\"\\/`)
	f("a\nb\tc\r\x00\x1b[31m\x7f", `a\nb\tc\u000d\u0000\u001b[31m\u007f`)
	f("é€😀", "é€😀")
	f("a\xffb\xc3", `a\ufffdb\ufffd`)
	f("\u2028\u2029", `\u2028\u2029`)
	f("\ufffd", `\ufffd`)
}

func TestTime(t *testing.T) {
	for _, at := range []time.Time{time.Unix(0, 0), time.Unix(1795167512, 7_999_999), time.Date(2028, 2, 29, 23, 59, 59, 999e6, time.FixedZone("x", 3600))} {
		if got, want := string(appendUTC(nil, at)), at.UTC().Format(timeLayout); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestNilAccessLog(t *testing.T) {
	var a *AccessLog
	a.Record(nil)
	if a.Reopen() != nil || a.Close(0) != nil {
		t.Error("a log that is off gave an error")
	}
}

// Every line is one line and JSON, and says what it was given or a truncated or repaired form of it.
func FuzzAccessLine(f *testing.F) {
	f.Add([]byte("GET"), []byte("a\"b\\c\nd"), []byte("token=\xff&\x00=;=&%"), []byte("\xc3\x28\u2028"))
	f.Add([]byte(strings.Repeat("é", 600)), []byte(strings.Repeat("\x01", 5000)), []byte(strings.Repeat("a=&", 3000)), []byte{})
	a := &AccessLog{redact: newRedactor(nil)}
	f.Fuzz(func(t *testing.T, method, path, query, agent []byte) {
		x := exchange.Acquire()
		defer exchange.Release(x)
		x.Request.Method, x.Request.Host, x.Request.Path, x.Request.Query = method, agent, path, query
		x.RequestID = query
		x.Request.Header.Add([]byte("user-agent"), agent)
		x.Identity = &exchange.Identity{Subject: string(agent)}
		x.Record.Reason = string(path)
		line := a.appendLine(nil, x)
		if !utf8.Valid(line) || bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Fatalf("%q", line)
		}
		var got map[string]any
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if want := strings.ToValidUTF8(string(method), "\ufffd"); utf8.Valid(method) && len(method) > 0 && len(method) <= maxText && got["method"] != want {
			t.Fatalf("method %q", got["method"])
		}
		if len(line) > 128<<10 {
			t.Fatalf("%d bytes", len(line))
		}
	})
}
