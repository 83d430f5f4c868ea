package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// This file is a reader of its own: it shares nothing with the proxies under test. It knows one form of every message, the
// canonical one, and notes whatever else it meets: as a fault what another server might read in another way, as odd what is
// only not as it should be.

// message is one request or answer as it stands in a stream of bytes.
type message struct {
	line    string // request or status line
	method  string
	target  string
	host    string
	status  int
	fields  []field
	body    string
	trailer []field
	close   bool // the sender ends the connection after it
	faults  []string
	odd     []string
}

type field struct{ name, value string }

// get gives the values of all fields of a name, joined by |.
func (m *message) get(name string) string {
	var all []string
	for _, f := range m.fields {
		if strings.EqualFold(f.name, name) {
			all = append(all, f.value)
		}
	}
	return strings.Join(all, "|")
}

func (m *message) count(name string) (n int) {
	for _, f := range m.fields {
		if strings.EqualFold(f.name, name) {
			n++
		}
	}
	return n
}

func (m *message) fault(format string, args ...any) {
	m.faults = append(m.faults, fmt.Sprintf(format, args...))
}

func (m *message) note(format string, args ...any) {
	m.odd = append(m.odd, fmt.Sprintf(format, args...))
}

// String is the request's meaning in the words of the tables.
func (m *message) String() string {
	s := m.method + " " + m.target + " @" + m.host
	if m.body != "" {
		s += " =" + m.body
	}
	return s
}

// state says how much of a message is there.
type state int

const (
	partial state = iota // more bytes may complete it
	whole
	broken // no bytes can
)

var (
	requestLine = regexp.MustCompile("^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) HTTP/1\\.([01])$")
	statusLine  = regexp.MustCompile(`^HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([^\x00\r\n]*))?$`)
	fieldLine   = regexp.MustCompile("^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*?)[ \t]*$")
	hostValue   = regexp.MustCompile(`^([0-9A-Za-z._~!$&'()*+;=%-]*|\[[0-9A-Fa-f:.]+(%25[0-9A-Za-z]+)?\])(:[0-9]{0,5})?$`)
	lengthValue = regexp.MustCompile(`^[0-9]{1,18}$`)
	chunkSize   = regexp.MustCompile(`^[0-9A-Fa-f]{1,16}$`)
	control     = regexp.MustCompile(`[\x01-\x08\x0b-\x1f\x7f]`)
	eightBit    = regexp.MustCompile(`[^\x00-\x7f]`)
)

// readRequest reads the request that b begins with, and gives how many bytes it has.
func readRequest(b []byte) (m message, n int, s state) {
	n, s = m.head(b)
	if s != whole {
		return m, n, s
	}
	g := requestLine.FindStringSubmatch(m.line)
	if g == nil {
		m.fault("request line %q", m.line)
		return m, n, broken
	}
	m.method, m.target, m.host = g[1], g[2], m.get("Host")
	if strings.Contains(m.target, "#") {
		m.fault("fragment in target %q", m.target)
	}
	if eightBit.MatchString(m.target) {
		m.note("8-bit target %q", m.target)
	}
	switch hosts := m.count("Host"); {
	case hosts > 1:
		m.fault("%d Host fields", hosts)
	case hosts == 0 && g[3] == "1", hosts == 1 && m.host == "":
		m.note("no Host")
	case hosts == 1 && !hostValue.MatchString(m.host):
		m.fault("Host %q", m.host)
	}
	length, chunked := m.framing(g[3] == "0")
	if !chunked && length < 0 {
		length = 0
	}
	k, s := m.readBody(b[n:], length, chunked)
	return m, n + k, s
}

// readAnswer reads the answer that b begins with, to a request with the method. ended says that no more bytes will come.
func readAnswer(b []byte, method string, ended bool) (m message, n int, s state) {
	n, s = m.head(b)
	if s != whole {
		return m, n, s
	}
	g := statusLine.FindStringSubmatch(m.line)
	if g == nil {
		m.fault("status line %q", m.line)
		return m, n, broken
	}
	m.status, _ = strconv.Atoi(g[2])
	if control.MatchString(g[3]) {
		m.note("status line %q", m.line)
	}
	length, chunked := m.framing(g[1] == "0")
	m.close = g[1] == "0" && !strings.EqualFold(m.get("Connection"), "keep-alive") || strings.EqualFold(m.get("Connection"), "close")
	switch {
	case method == "HEAD", m.status < 200, m.status == 204, m.status == 304:
		return m, n, whole
	case !chunked && length < 0:
		m.close, m.body = true, string(b[n:])
		if !ended {
			return m, len(b), partial
		}
		return m, len(b), whole
	}
	k, s := m.readBody(b[n:], length, chunked)
	return m, n + k, s
}

// head reads the start line and the fields.
func (m *message) head(b []byte) (int, state) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if bytes.Contains(b, []byte("\n\n")) || bytes.Contains(b, []byte("\n\r\n")) {
			m.fault("head ends in a bare LF: %q", b)
			return len(b), broken
		}
		return 0, partial
	}
	lines := strings.Split(string(b[:end]), "\r\n")
	m.line = lines[0]
	m.fields = m.readFields(lines[1:])
	return end + 4, whole
}

func (m *message) readFields(lines []string) (all []field) {
	for _, l := range lines {
		g := fieldLine.FindStringSubmatch(l)
		if g == nil {
			m.fault("field line %q", l)
			continue
		}
		if control.MatchString(g[2]) {
			m.note("field line %q", l)
		}
		all = append(all, field{g[1], g[2]})
	}
	return all
}

// framing gives the length, -1 without, and whether the body is chunked.
func (m *message) framing(old bool) (length int64, chunked bool) {
	length = -1
	if n := m.count("Content-Length"); n > 0 {
		v := m.get("Content-Length")
		if !lengthValue.MatchString(v) {
			m.fault("Content-Length %q", v)
		} else {
			length, _ = strconv.ParseInt(v, 10, 64)
			if v[0] == '0' && v != "0" {
				m.note("Content-Length %q", v)
			}
		}
	}
	if n := m.count("Transfer-Encoding"); n > 0 {
		v := m.get("Transfer-Encoding")
		if chunked = strings.EqualFold(v, "chunked"); !chunked {
			m.fault("Transfer-Encoding %q", v)
		}
		if m.count("Content-Length") > 0 {
			m.fault("Transfer-Encoding and Content-Length")
		}
		if old {
			m.fault("Transfer-Encoding on HTTP/1.0")
		}
	}
	return length, chunked
}

func (m *message) readBody(b []byte, length int64, chunked bool) (int, state) {
	if !chunked {
		if int64(len(b)) < length {
			m.body = string(b)
			return len(b), partial
		}
		m.body = string(b[:length])
		return int(length), whole
	}
	n := 0
	for {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return n, partial
		}
		line, ok := strings.CutSuffix(string(b[n:n+i+1]), "\r\n")
		if !ok || !chunkSize.MatchString(line) {
			m.fault("chunk size line %q", b[n:n+i+1])
			return n, broken
		}
		n += i + 1
		size, err := strconv.ParseInt(line, 16, 64)
		if err != nil {
			m.fault("chunk size %q", line)
			return n, broken
		}
		if size == 0 {
			k, s := m.readTrailer(b[n:])
			return n + k, s
		}
		if int64(len(b)-n) < size+2 {
			m.body += string(b[n:min(int64(len(b)), int64(n)+size)])
			return n, partial
		}
		m.body += string(b[n : int64(n)+size])
		n += int(size)
		if b[n] != '\r' || b[n+1] != '\n' {
			m.fault("%q after a chunk", b[n:n+2])
			return n, broken
		}
		n += 2
	}
}

func (m *message) readTrailer(b []byte) (int, state) {
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return 2, whole
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, partial
	}
	m.trailer = m.readFields(strings.Split(string(b[:end]), "\r\n"))
	for _, f := range m.trailer {
		switch strings.ToLower(f.name) {
		case "content-length", "transfer-encoding", "host", "authorization", "cookie", "x-forwarded-for", "content-type":
			m.note("%s in the trailer section", f.name)
		}
	}
	return end + 4, whole
}
