package node_test

import (
	"bufio"
	"net/textproto"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

// believed are the names under which servers and frameworks find a field: as they read it, as CGI has it (RFC 3875
// §4.1.18), and as those write it that make every other character an underscore.
func believed(name string) []string {
	cgi := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
	return []string{textproto.CanonicalMIMEHeaderKey(name), cgi}
}

// TestNobodySpeaksForWeir: a field that weir sets from an identity reaches an upstream from weir only, on any route, in
// whatever way a client sends it. Either the request is refused or the field is gone.
func TestNobodySpeaksForWeir(t *testing.T) {
	const get, post = "GET /%s HTTP/1.1\r\nHost: a\r\n", "POST /%s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
	const chunks = "3\r\nabc\r\n0\r\n"
	variants := []struct{ name, text string }{
		{"as it is", get + "x-user-id: mallory\r\n\r\n"},
		{"canonical case", get + "X-User-Id: mallory\r\n\r\n"},
		{"capitals", get + "X-USER-ID: mallory\r\n\r\n"},
		{"mixed case", get + "x-uSeR-iD: mallory\r\n\r\n"},
		{"underscores", get + "x_user_id: mallory\r\n\r\n"},
		{"one underscore", get + "x-user_id: mallory\r\n\r\n"},
		{"the other underscore", get + "X_User-Id: mallory\r\n\r\n"},
		{"dots", get + "x.user.id: mallory\r\n\r\n"},
		{"other token characters", get + "x~user*id: mallory\r\n\r\n"},
		{"twice", get + "X-User-Id: mallory\r\nX-User-Id: mallory\r\n\r\n"},
		{"twice, apart, in other cases", get + "X-User-Id: mallory\r\nA: b\r\nx-user-id: mallory\r\nx_user_id: mallory\r\n\r\n"},
		{"a list", get + "X-User-Id: alice, mallory\r\n\r\n"},
		{"nominated", get + "Connection: x-user-id\r\nX-User-Id: mallory\r\n\r\n"},
		{"nominated and kept alive", get + "Connection: keep-alive, X-USER-ID\r\nx_user_id: mallory\r\n\r\n"},
		{"nominated with nothing there", get + "Connection: x-user-id\r\n\r\n"},
		{"space before the colon", get + "X-User-Id : mallory\r\n\r\n"},
		{"tab before the colon", get + "X-User-Id\t: mallory\r\n\r\n"},
		{"folded line", get + "A: b\r\n X-User-Id: mallory\r\n\r\n"},
		{"folded value", get + "X-User-Id:\r\n mallory\r\n\r\n"},
		{"bare line feed", get + "A: b\nX-User-Id: mallory\r\n\r\n"},
		{"bare carriage return", get + "A: b\rX-User-Id: mallory\r\n\r\n"},
		{"NUL in the name", get + "X-User-Id\x00: mallory\r\n\r\n"},
		{"NUL in a value", get + "A: b\x00X-User-Id: mallory\r\n\r\n"},
		{"space in the name", get + "X-User-Id x: mallory\r\n\r\n"},
		{"leading space", "GET /%s HTTP/1.1\r\n X-User-Id: mallory\r\nHost: a\r\n\r\n"},
		{"beyond ASCII", get + "X-User-\xc4\xb0d: mallory\r\n\r\n"},
		{"in a trailer", post + "\r\n" + chunks + "X-User-Id: mallory\r\n\r\n"},
		{"in a trailer, announced", post + "Trailer: X-User-Id\r\n\r\n" + chunks + "x-user-id: mallory\r\n\r\n"},
		{"in a trailer, with an underscore", post + "\r\n" + chunks + "X_User_Id: mallory\r\n\r\n"},
		{"in a chunk extension", post + "\r\n3;X-User-Id: mallory\r\nabc\r\n0\r\n\r\n"},
		{"in a second request", get + "Content-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nX-User-Id: mallory\r\n\r\n"},
		{"empty", get + "X-User-Id:\r\n\r\n"},
		{"HTTP/1.0", "GET /%s HTTP/1.0\r\nX-User-Id: mallory\r\n\r\n"},
	}
	if len(variants) < 25 {
		t.Fatal(len(variants))
	}
	for _, mode := range []string{"drop", "pass"} {
		heads := make(chan string, 100)
		up := coretest.StartRaw(t, func(c *coretest.Client) {
			for {
				head := c.Head()
				if head == "" {
					return
				}
				if strings.Contains(head, "chunked") {
					for line := ""; line != "0\r\n"; { // the chunks here have one line each
						line, _ = c.In.ReadString('\n')
					}
					head += c.Head()
				}
				heads <- head
				c.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		r := coretest.Start(t, strings.Replace(identified, "%s", mode, 1), nil, coretest.Options{
			Env: map[string]string{"UPSTREAM": up.Address()}, Files: map[string]string{"secret": hmacSecret}, Kinds: standardKinds(t),
		})
		token := mintHS256(t, map[string]any{"sub": "alice", "exp": 4e9})
		for _, v := range variants {
			for path, want := range map[string]string{"open": "", "in/a": "alice"} {
				k := r.Client()
				text := strings.Replace(v.text, "%s", path, 1)
				k.Send(strings.Replace(text, "Host: a\r\n", "Host: a\r\nAuthorization: Bearer "+token+"\r\n", 1))
				answer, _ := k.Answer("GET")
				if strings.HasPrefix(v.name, "in a second") {
					k.Answer("GET")
				}
				k.Close()
				refused := answer.StatusCode >= 400
				for n := len(heads); n > 0; n-- {
					checkSpeaker(t, mode+", "+v.name+", /"+path, <-heads, want, strings.HasPrefix(v.name, "in a second"))
					if refused {
						t.Errorf("%s: refused and sent on", v.name)
					}
				}
			}
		}
	}
}

// checkSpeaker looks through all fields, trailers too, for one that a server could take for weir's.
func checkSpeaker(t *testing.T, what, head, want string, either bool) {
	t.Helper()
	if strings.Contains(head, "mallory") {
		t.Errorf("%s: mallory came through:\n%s", what, head)
	}
	var got []string
	s := bufio.NewScanner(strings.NewReader(head))
	for s.Scan() {
		name, value, ok := strings.Cut(s.Text(), ":")
		if !ok {
			continue
		}
		for i, b := range believed(name) {
			if b == believed("x-user-id")[i] {
				got = append(got, strings.TrimSpace(value))
				break
			}
		}
	}
	if all := strings.Join(got, "|"); all != want && !(either && all == "") {
		t.Errorf("%s: the upstream is told %q, want %q:\n%s", what, all, want, head)
	}
}
