package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

// framings are whole messages without their first line, in every framing whose end can be told.
var framings = []struct{ name, rest string }{
	{"fixed", host + "Content-Length: 12\r\n\r\nhello, world"},
	{"chunked", host + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7;a=b\r\n, world\r\n0\r\n\r\n"},
	{"chunked with trailers", host + "Transfer-Encoding: chunked\r\nTE: trailers\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\nX-Sum: 1\r\nX-Two: 2\r\n\r\n"},
}

// TestCutUploads cuts requests after every byte, by FIN and by RST: a complete one never reaches the upstream, unless it was.
func TestCutUploads(t *testing.T) {
	s := rig(t)
	wrong := 0
	for _, f := range framings {
		for _, reset := range []bool{false, true} {
			last := ""
			for at := range len("POST /upload/000 HTTP/1.1\r\n"+f.rest) + 1 {
				target := fmt.Sprintf("/upload/%03d", at)
				message := "POST " + target + " HTTP/1.1\r\n" + f.rest
				c, err := dial(s.address)
				if err != nil {
					t.Fatal(err)
				}
				c.send(message[:at])
				if at == len(message) {
					last = target
					c.answer("POST", s.patience)
				} else if reset {
					c.kill()
					continue
				}
				_ = c.CloseWrite()
				if m, how := c.answer("POST", s.patience); how == complete && m.status < 400 || how == silent {
					wrong++
					t.Errorf("%s cut at %d: answered %d (%d)", f.name, at, m.status, how)
				}
				_ = c.Close()
			}
			var wholes []string
			coretest.Eventually(t, "every upload has ended", func() bool {
				open := 0
				for _, a := range s.origin.take() {
					if a.state == whole {
						wholes = append(wholes, a.target)
					}
					if a.state == partial && !a.gone {
						open++
					}
					if a.state == broken || len(a.faults) > 0 {
						wrong++
						t.Errorf("%s: upstream got %q", f.name, a.raw)
					}
				}
				return open == 0
			})
			if got := strings.Join(wholes, " "); got != last {
				wrong++
				t.Errorf("%s, reset %t: complete requests reached the upstream: %q, want %q", f.name, reset, got, last)
			}
		}
	}
	coretest.Score(t, "A11", "uploads", float64(wrong))
}

// TestCutAnswers cuts answers after every byte, by FIN and by RST: the client never sees a complete one, unless it was; what
// it may see is weir's own 502.
func TestCutAnswers(t *testing.T) {
	s := rig(t)
	wrong := 0
	for _, f := range framings {
		message := strings.Replace("HTTP/1.1 200 OK\r\n"+f.rest, host, "", 1)
		for _, e := range []end{fin, rst} {
			for at := range len(message) + 1 {
				s.origin.plan("/download", &answer{raw: message[:at], end: e})
				for _, version := range []string{"1.1", "1.0"} {
					c, err := dial(s.address)
					if err != nil {
						t.Fatal(err)
					}
					c.send("GET /download HTTP/" + version + "\r\n" + host + "TE: trailers\r\n\r\n")
					m, how := c.answer("GET", s.patience)
					_ = c.Close()
					ours := how == complete && m.status == 502
					switch {
					case len(m.faults) > 0 || how == silent:
						wrong++
						t.Errorf("%s cut at %d: %v, %q", f.name, at, how, m.faults)
					case at < len(message) && how == complete && !ours:
						wrong++
						t.Errorf("%s cut at %d, HTTP/%s: client got %d %q as complete", f.name, at, version, m.status, m.body)
					case at == len(message) && e == fin && (how != complete || m.body != "hello, world"):
						wrong++
						t.Errorf("%s: client got %d %q (%d)", f.name, m.status, m.body, how)
					}
				}
			}
		}
	}
	coretest.Score(t, "A11", "answers", float64(wrong))
}
