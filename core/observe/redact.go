package observe

import "bytes"

// secrets are names of query parameters whose values are credentials, in lower case with _ for -.
var secrets = []string{
	"access_token", "refresh_token", "id_token", "id_token_hint", "token", "auth_token", "session_token", "csrf_token", "jwt", "jwt_token", "bearer",
	"assertion", "client_assertion", "saml_response", "samlresponse", "logout_token",
	"api_key", "apikey", "x_api_key", "key", "access_key", "secret", "client_secret", "secret_key", "private_key",
	"password", "passwd", "pass", "pwd", "passphrase", "otp", "pin", "credential", "credentials",
	"auth", "authorization", "code", "code_verifier", "ticket", "sig", "signature", "hmac",
	"session", "session_id", "sessionid", "sid", "cookie",
	"x_amz_signature", "x_amz_security_token", "x_amz_credential", "x_goog_signature", "x_goog_credential",
}

// maxName is the longest name that is compared; a longer one is no secret's.
const maxName = 64

// redactor knows the names whose values are not logged.
type redactor struct {
	names map[string]struct{}
	first [256]bool // what a name may begin with: most names need no closer look
}

func newRedactor(more []string) *redactor {
	r := &redactor{names: map[string]struct{}{}}
	r.first['%'] = true
	var buf [maxName]byte
	for _, list := range [][]string{secrets, more} {
		for _, name := range list {
			key, ok := foldName(&buf, []byte(name))
			if !ok || len(key) == 0 {
				continue
			}
			r.names[string(key)] = struct{}{}
			for c := range 256 {
				r.first[c] = r.first[c] || foldByte(byte(c)) == key[0]
			}
		}
	}
	return r
}

// appendQuery appends a query, escaped for JSON, with the values of secret names replaced. Parameters begin after & or ;,
// since upstreams differ in whether ; ends one; for the same reason a secret value goes on to the next &.
func (r *redactor) appendQuery(dst line, query []byte) line {
	begin, done := 0, 0 // where the name begins, -1 behind it; up to where the query has been appended
	for i := 0; i < len(query); i++ {
		switch query[i] {
		case '&', ';':
			begin = i + 1
		case '=':
			if begin < 0 || !r.secret(query[begin:i]) {
				begin = -1
				continue
			}
			dst = append(appendEscaped(dst, query[done:i+1]), "REDACTED"...)
			n := bytes.IndexByte(query[i:], '&')
			if n < 0 {
				return dst
			}
			i += n
			begin, done = i+1, i
		}
	}
	return appendEscaped(dst, query[done:])
}

func (r *redactor) secret(name []byte) bool {
	if len(name) == 0 || !r.first[name[0]] {
		return false
	}
	var buf [maxName]byte
	key, ok := foldName(&buf, name)
	if !ok {
		return false
	}
	_, ok = r.names[string(key)]
	return ok
}

// foldName makes a name comparable: %-escapes undone, lower case, _ for - and blanks, no index. Not ok if it is longer than maxName.
func foldName(buf *[maxName]byte, name []byte) (key []byte, ok bool) {
	n := 0
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '%' && i+2 < len(name) {
			hi, lo := unhex(name[i+1]), unhex(name[i+2])
			if hi|lo < 16 {
				c = hi<<4 | lo
				i += 2
			}
		}
		if c == '[' && n > 0 {
			break // token[] and token[0] are tokens
		}
		if n == maxName {
			return nil, false
		}
		buf[n] = foldByte(c)
		n++
	}
	return buf[:n], true
}

func foldByte(c byte) byte {
	switch {
	case c-'A' < 26:
		return c | 0x20
	case c == '-' || c == '+' || c == ' ' || c == '.':
		return '_'
	}
	return c
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 0xff
}
