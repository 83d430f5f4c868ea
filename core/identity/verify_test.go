package identity

import (
	"crypto"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/exchange"
)

const hsHeader = `{"alg":"HS256","typ":"JWT"}`

func TestVerifyAlgorithms(t *testing.T) {
	for _, c := range []struct {
		alg  string
		key  func(*ProviderOptions)
		sign signer
	}{
		{"RS256", withPublic(rsaKey().Public(), "RS256"), signPKCS1(rsaKey(), crypto.SHA256)},
		{"RS384", withPublic(rsaKey().Public(), "RS384"), signPKCS1(rsaKey(), crypto.SHA384)},
		{"RS512", withPublic(rsaKey().Public(), "RS512"), signPKCS1(rsaKey(), crypto.SHA512)},
		{"PS256", withPublic(rsaKey().Public(), "PS256"), signPSS(rsaKey(), crypto.SHA256, 32)},
		{"PS384", withPublic(rsaKey().Public(), "PS384"), signPSS(rsaKey(), crypto.SHA384, 48)},
		{"PS512", withPublic(rsaKey().Public(), "PS512"), signPSS(rsaKey(), crypto.SHA512, 64)},
		{"ES256", withPublic(p256().Public(), "ES256"), signECDSA(p256(), crypto.SHA256)},
		{"ES384", withPublic(p384().Public(), "ES384"), signECDSA(p384(), crypto.SHA384)},
		{"ES512", withPublic(p521().Public(), "ES512"), signECDSA(p521(), crypto.SHA512)},
		{"EdDSA", withPublic(edKey().Public(), "EdDSA"), signEd(edKey())},
		{"HS256", func(o *ProviderOptions) { o.Algorithms = []string{"HS256"} }, hs256()},
		{"HS512", func(o *ProviderOptions) { o.Algorithms = []string{"HS512"} }, hs512()},
		// The defaults take what the key allows.
		{"RS256", withPublic(rsaKey().Public()), signPKCS1(rsaKey(), crypto.SHA256)},
		{"PS256", withPublic(rsaKey().Public()), signPSS(rsaKey(), crypto.SHA256, 32)},
		{"ES256", withPublic(p256().Public()), signECDSA(p256(), crypto.SHA256)},
		{"EdDSA", withPublic(edKey().Public()), signEd(edKey())},
		{"HS256", func(*ProviderOptions) {}, hs256()},
	} {
		t.Run(c.alg, func(t *testing.T) {
			p := provider(t, c.key)
			token := mint(`{"alg":"`+c.alg+`"}`, claims(), c.sign)
			id := want(t, p, token, OK)
			if id.Subject != "alice" || id.Provider != "sso" || id.Expires != unix+300 {
				t.Fatalf("identity %+v", id)
			}
			// One bit anywhere in what is signed, or in the signature, and it is no longer a token.
			parts := strings.Split(token, ".")
			other := mint(`{"alg":"`+c.alg+`"}`, claims(`"admin":true`), c.sign)
			want(t, p, parts[0]+"."+strings.Split(other, ".")[1]+"."+parts[2], BadSignature)
			want(t, p, parts[0]+"."+parts[1]+"."+strings.Split(other, ".")[2], BadSignature)
			raw := must(strict.DecodeString(parts[2]))
			want(t, p, parts[0]+"."+parts[1]+"."+b64(raw[:len(raw)-1]), BadSignature)
			want(t, p, parts[0]+"."+parts[1]+"."+b64(append(raw, 0)), BadSignature)
			want(t, p, parts[0]+"."+parts[1]+"."+b64(append([]byte{0}, raw...)), BadSignature)
			want(t, p, parts[0]+"."+parts[1]+"."+b64(make([]byte, len(raw))), BadSignature)
		})
	}
}

// The time is the configured clock's, the leeway 30 s: each case says which second is judged.
func TestVerifyTimes(t *testing.T) {
	at := func(n int64) string { return fmt.Sprint(unix + n) }
	f := func(name, member, value string, reason Reason, change ...func(*ProviderOptions)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			want(t, provider(t, change...), mint(hsHeader, with(member, value), hs256()), reason)
		})
	}
	none := func(o *ProviderOptions) { o.Leeway = -1 }
	f("expired within the leeway", "exp", at(-29), OK)
	f("expired by the leeway", "exp", at(-30), Expired)
	f("no leeway: this second is past", "exp", at(0), Expired, none)
	f("no leeway: the next is not", "exp", at(1), OK, none)
	f("fraction", "exp", at(-30)+".9", Expired)
	f("exponent", "exp", "2e9", OK)
	f("exp missing", "exp", "", MissingClaim)
	f("exp zero", "exp", "0", BadClaims)
	f("exp minus zero", "exp", "-0", BadClaims)
	f("exp below one", "exp", "0.5", BadClaims)
	f("exp negative", "exp", "-1", BadClaims)
	f("exp null", "exp", "null", BadClaims)
	f("exp true", "exp", "true", BadClaims)
	f("exp string number", "exp", `"`+at(300)+`"`, BadClaims)
	f("exp RFC 3339", "exp", `"2050-01-02T03:04:05Z"`, BadClaims)
	f("exp array", "exp", "["+at(300)+"]", BadClaims)
	f("exp object", "exp", "{}", BadClaims)
	f("exp 1e18", "exp", "1e18", BadClaims)
	f("exp 1e300", "exp", "1e300", BadClaims)
	f("exp 1e999", "exp", "1e999", BadClaims)
	f("exp 2^53", "exp", "9007199254740992", BadClaims)
	f("exp 2^63-1", "exp", "9223372036854775807", BadClaims)
	f("exp 2^64+1", "exp", "18446744073709551617", BadClaims)
	f("exp just below 2^53", "exp", "9007199254740991", OK)
	f("exp hexadecimal", "exp", "0x7fffffff", BadClaims)
	f("exp leading zero", "exp", "0"+at(300), BadClaims)
	f("exp NaN", "exp", "NaN", BadClaims)
	f("nbf within the leeway", "nbf", at(30), OK)
	f("nbf past the leeway", "nbf", at(31), NotYetValid)
	f("nbf fraction rounds up", "nbf", at(30)+".1", NotYetValid)
	f("nbf zero, as some issuers write", "nbf", "0", OK)
	f("nbf string", "nbf", `"`+at(0)+`"`, BadClaims)
	f("nbf null", "nbf", "null", BadClaims)
	f("nbf huge", "nbf", "1e300", BadClaims)
	f("iat in the future", "iat", at(31), NotYetValid)
	f("iat within the leeway", "iat", at(30), OK)
	f("iat string", "iat", `"now"`, BadClaims)
	f("iat negative", "iat", "-5", BadClaims)
	age := func(o *ProviderOptions) { o.MaxAge = 60 * time.Second }
	f("old enough", "iat", at(-90), OK, age)
	f("too old", "iat", at(-91), TooOld, age)
	f("age unknown", "iat", "", MissingClaim, age)
	life := func(o *ProviderOptions) { o.MaxLifetime = 310 * time.Second }
	f("life as configured", "exp", at(300), OK, life)
	f("life too long", "exp", at(301), TooLong, life)
	f("life unknown", "iat", "", MissingClaim, life)
	eternal := func(o *ProviderOptions) { o.Require = []string{} }
	f("no exp and none required", "exp", "", OK, eternal)
	f("no exp, but the life is bounded", "exp", "", MissingClaim, eternal, life)
}

func TestVerifyClaims(t *testing.T) {
	f := func(name, payload string, reason Reason, change ...func(*ProviderOptions)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			want(t, provider(t, change...), mint(hsHeader, payload, hs256()), reason)
		})
	}
	f("iss other", with("iss", `"https://issuer.example/"`), BadIssuer)
	f("iss in another case", with("iss", `"https://ISSUER.example"`), BadIssuer)
	f("iss missing", with("iss", ""), BadIssuer)
	f("iss array", with("iss", `["`+iss+`"]`), BadIssuer)
	anyIssuer := func(o *ProviderOptions) { o.Issuer = "" }
	f("iss unchecked", with("iss", `"x"`), OK, anyIssuer)
	f("iss unchecked and missing", with("iss", ""), OK, anyIssuer)
	f("iss unchecked but no string", with("iss", "7"), BadIssuer, anyIssuer)
	f("aud array", with("aud", `["x","`+aud+`"]`), OK)
	f("aud array of others", with("aud", `["x","y"]`), BadAudience)
	f("aud empty array", with("aud", `[]`), BadAudience)
	f("aud missing", with("aud", ""), BadAudience)
	f("aud null", with("aud", "null"), BadAudience)
	f("aud object", with("aud", `{"`+aud+`":1}`), BadAudience)
	f("aud mixed array", with("aud", `["`+aud+`",1]`), BadAudience)
	f("aud part of ours", with("aud", `"weir"`), BadAudience)
	anyAudience := func(o *ProviderOptions) { o.Audiences = nil }
	f("aud unchecked", with("aud", ""), OK, anyAudience)
	f("aud unchecked but no string", with("aud", "7"), BadAudience, anyAudience)
	f("sub number", with("sub", "7"), BadClaims)
	f("sub null", with("sub", "null"), BadClaims)
	f("sub missing", with("sub", ""), OK)
	needSub := func(o *ProviderOptions) { o.Require = []string{"exp", "sub", "ctx.id"} }
	f("required missing", with("sub", ""), MissingClaim, needSub)
	f("required empty", with("sub", `""`), MissingClaim, needSub)
	f("required nested missing", claims(`"ctx":{}`), MissingClaim, needSub)
	f("required nested null", claims(`"ctx":{"id":null}`), MissingClaim, needSub)
	f("required nested", claims(`"ctx":{"id":0}`), OK, needSub)
	rule := func(r ClaimRule) func(*ProviderOptions) {
		return func(o *ProviderOptions) { o.Claims = []ClaimRule{r} }
	}
	env := rule(ClaimRule{Path: "env", AnyOf: []string{"production", "staging"}})
	f("rule equal", claims(`"env":"staging"`), OK, env)
	f("rule array", claims(`"env":["dev","production"]`), OK, env)
	f("rule other", claims(`"env":"productions"`), BadClaim, env)
	f("rule absent", claims(), BadClaim, env)
	f("rule null", claims(`"env":null`), BadClaim, env)
	f("rule object", claims(`"env":{"production":true}`), BadClaim, env)
	maybe := rule(ClaimRule{Path: "env", AnyOf: []string{"production"}, IfPresent: true})
	f("rule if present, absent", claims(), OK, maybe)
	f("rule if present, null", claims(`"env":null`), BadClaim, maybe)
	f("rule if present, empty array", claims(`"env":[]`), BadClaim, maybe)
	f("rule if present, equal", claims(`"env":"production"`), OK, maybe)
	f("rule if present, other", claims(`"env":"dev"`), BadClaim, maybe)
	f("rule on a boolean", claims(`"mfa":true`), OK, rule(ClaimRule{Path: "mfa", AnyOf: []string{"true"}}))
	f("rule on a number", claims(`"level":3`), OK, rule(ClaimRule{Path: "level", AnyOf: []string{"3"}}))
}

// The payload is signed with the right key: what is refused here is refused for its shape.
func TestVerifyPayloadShape(t *testing.T) {
	good := claims()
	deep := func(n int) string {
		return claims(`"d":` + strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n))
	}
	wide := make([]string, 900)
	for i := range wide {
		wide[i] = fmt.Sprintf(`"%d":0`, i)
	}
	f := func(name, payload string, reason Reason) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			p := provider(t, func(o *ProviderOptions) { o.MaxTokenBytes = 16 << 10 })
			want(t, p, mint(hsHeader, payload, hs256()), reason)
		})
	}
	f("good", good, OK)
	f("white space after", good+" \r\n\t", OK)
	f("white space within", strings.ReplaceAll(good, ",", " ,\r\n "), OK)
	f("white space before", " "+good, BadClaims)
	f("byte order mark", "\ufeff"+good, BadClaims)
	f("garbage after", good+"x", BadClaims)
	f("second object after", good+good, BadClaims)
	f("array", "["+good+"]", BadClaims)
	f("string", `"x"`, BadClaims)
	f("null", "null", BadClaims)
	f("nested token", mint(hsHeader, good, hs256()), BadClaims)
	f("duplicate exp", claims(fmt.Sprintf(`"exp":%d`, unix+900)), BadClaims)
	f("duplicate sub", claims(`"sub":"root"`), BadClaims)
	f("duplicate by escape", claims(`"s\u0075b":"root"`), BadClaims)
	f("duplicate in an object", claims(`"o":{"a":1,"a":1}`), BadClaims)
	f("duplicate in an array", claims(`"o":[{"a":1,"a":1}]`), BadClaims)
	f("duplicate deep in arrays", claims(`"o":[[{"b":[{"a":1,"a":1}]}]]`), BadClaims)
	f("duplicate among many", claims(append(slices.Clone(wide), `"17":0`)...), BadClaims)
	f("many", claims(wide...), OK)
	f("same name in two objects", claims(`"o":{"a":1},"p":{"a":1},"q":[{"a":1},{"a":2}]`), OK)
	f("another case is another name", claims(`"SUB":"root","Exp":"never"`), OK)
	f("two claims of one path", claims(`"a":{"b":1},"a.b":2`), BadClaims)
	f("depth 16", deep(15), OK)
	f("depth 17", deep(16), BadClaims)
	f("arrays to depth 16", claims(`"d":`+strings.Repeat("[", 15)+strings.Repeat("]", 15)), OK)
	f("arrays to depth 17", claims(`"d":`+strings.Repeat("[", 16)+strings.Repeat("]", 16)), BadClaims)
	f("5,000 deep", claims(`"d":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)), BadClaims)
	f("5,000 deep and open", `{"d":`+strings.Repeat(`{"a":`, 2000), BadClaims)
	f("invalid UTF-8", claims("\"n\":\"\xff\""), BadClaims)
	f("surrogate as UTF-8", claims("\"n\":\"\xed\xa0\x80\""), BadClaims)
	f("lone surrogate escape", claims(`"n":"\ud800"`), BadClaims)
	f("control byte in a string", claims("\"n\":\"\x01\""), BadClaims)
}

func TestVerifyHeader(t *testing.T) {
	f := func(name, header string, reason Reason, change ...func(*ProviderOptions)) {
		t.Helper()
		t.Run(name, func(t *testing.T) { want(t, provider(t, change...), mint(header, claims(), hs256()), reason) })
	}
	f("plain", `{"alg":"HS256"}`, OK)
	f("white space after", `{"alg":"HS256"} `, OK)
	f("thumbprints are not used", `{"alg":"HS256","x5t":"AAAA","x5t#S256":"../../etc"}`, OK)
	f("any kid for the one key", `{"alg":"HS256","kid":"../../dev/null"}`, OK)
	f("kid of SQL", `{"alg":"HS256","kid":"' UNION SELECT 'x"}`, OK)
	f("kid of 256 bytes", `{"alg":"HS256","kid":"`+strings.Repeat("k", 256)+`"}`, OK)
	f("kid of 257 bytes", `{"alg":"HS256","kid":"`+strings.Repeat("k", 257)+`"}`, BadHeader)
	f("kid number", `{"alg":"HS256","kid":1}`, BadHeader)
	f("kid object", `{"alg":"HS256","kid":{"a":1}}`, BadHeader)
	f("kid null", `{"alg":"HS256","kid":null}`, BadHeader)
	f("alg none", `{"alg":"none"}`, BadAlgorithm)
	f("alg None", `{"alg":"None"}`, BadAlgorithm)
	f("alg NONE", `{"alg":"NONE"}`, BadAlgorithm)
	f("alg nOnE", `{"alg":"nOnE"}`, BadAlgorithm)
	f("alg empty", `{"alg":""}`, BadAlgorithm)
	f("alg missing", `{"typ":"JWT"}`, BadAlgorithm)
	f("alg null", `{"alg":null}`, BadHeader)
	f("alg number", `{"alg":256}`, BadHeader)
	f("alg array", `{"alg":["HS256"]}`, BadHeader)
	f("alg lower case", `{"alg":"hs256"}`, BadAlgorithm)
	f("alg with space", `{"alg":"HS256 "}`, BadAlgorithm)
	f("alg with NUL", `{"alg":"HS256\u0000"}`, BadAlgorithm)
	f("alg not configured", `{"alg":"HS512"}`, BadAlgorithm)
	f("alg asymmetric", `{"alg":"RS256"}`, BadAlgorithm)
	f("alg unknown", `{"alg":"ML-DSA-44"}`, BadAlgorithm)
	f("alg twice", `{"alg":"HS256","alg":"HS256"}`, BadHeader)
	f("alg none, then real", `{"alg":"none","alg":"HS256"}`, BadHeader)
	f("alg real, then none", `{"alg":"HS256","alg":"none"}`, BadHeader)
	f("alg twice by escape", `{"alg":"HS256","\u0061lg":"none"}`, BadHeader)
	f("Alg beside alg", `{"alg":"HS256","Alg":"none"}`, BadHeader)
	f("jku", `{"alg":"HS256","jku":"https://evil.example/jwks"}`, BadHeader)
	f("x5u", `{"alg":"HS256","x5u":"https://evil.example/x5u"}`, BadHeader)
	f("jwk", `{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}`, BadHeader)
	f("jwk string", `{"alg":"HS256","jwk":"x"}`, BadHeader)
	f("x5c", `{"alg":"HS256","x5c":["AAAA"]}`, BadHeader)
	f("crit empty", `{"alg":"HS256","crit":[]}`, BadHeader)
	f("crit unknown", `{"alg":"HS256","crit":["exp"],"exp":1}`, BadHeader)
	f("crit b64", `{"alg":"HS256","crit":["b64"],"b64":true}`, BadHeader)
	f("b64 false", `{"alg":"HS256","b64":false}`, BadHeader)
	f("b64 true", `{"alg":"HS256","b64":true}`, BadHeader)
	f("zip", `{"alg":"HS256","zip":"DEF"}`, BadHeader)
	f("enc", `{"alg":"HS256","enc":"A256GCM"}`, BadHeader)
	f("cty", `{"alg":"HS256","cty":"JWT"}`, BadHeader)
	f("unknown member", `{"alg":"HS256","x":"y"}`, BadHeader)
	f("garbage after", `{"alg":"HS256"}{}`, BadHeader)
	f("white space before", ` {"alg":"HS256"}`, BadHeader)
	f("array", `["alg","HS256"]`, BadHeader)
	f("empty object", `{}`, BadAlgorithm)
	f("1 KiB", `{"alg":"HS256"}`+strings.Repeat(" ", 1009), OK)
	f("more than 1 KiB", `{"alg":"HS256"}`+strings.Repeat(" ", 1010), TooLarge)
	f("typ at+jwt", `{"alg":"HS256","typ":"at+jwt"}`, OK)
	f("typ jwt", `{"alg":"HS256","typ":"jwt"}`, OK)
	f("typ media type", `{"alg":"HS256","typ":"application/at+jwt"}`, OK)
	f("typ of another protocol", `{"alg":"HS256","typ":"logout+jwt"}`, BadType)
	f("typ empty", `{"alg":"HS256","typ":""}`, BadType)
	f("typ number", `{"alg":"HS256","typ":1}`, BadHeader)
	access := func(o *ProviderOptions) { o.Types = []string{"at+jwt"} }
	f("typ configured", `{"alg":"HS256","typ":"application/AT+JWT"}`, OK, access)
	f("typ configured, other", `{"alg":"HS256","typ":"JWT"}`, BadType, access)
	f("typ configured, none", `{"alg":"HS256"}`, BadType, access)
}

// Every spelling of a good token but the canonical one.
func TestVerifyCompact(t *testing.T) {
	p := provider(t)
	token := mint(hsHeader, claims(), hs256())
	parts := strings.Split(token, ".")
	h, c, s := parts[0], parts[1], parts[2]
	f := func(name, token string, reason Reason) {
		t.Helper()
		t.Run(name, func(t *testing.T) { want(t, p, token, reason) })
	}
	f("good", token, OK)
	f("empty", "", Missing)
	f("one dot", h+"."+c, Malformed)
	f("two dots alone", "..", Malformed)
	f("no dots", h+c+s, Malformed)
	f("no header", "."+c+"."+s, Malformed)
	f("no payload", h+".."+s, Malformed)
	f("no signature", h+"."+c+".", Malformed)
	f("unsecured", b64([]byte(`{"alg":"none"}`))+"."+c+".", Malformed)
	f("four parts", token+"."+s, Malformed)
	f("dot at the end", token+".", Malformed)
	f("JWE", h+"."+c+"."+s+"."+s+"."+s, Malformed)
	f("flattened JSON", fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, h, c, s), Malformed)
	f("general JSON", fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, c, h, s), Malformed)
	f("forged claims in flattened JSON", fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q,"sub":"root"}`, c, h, s), Malformed)
	f("quoted", `"`+token+`"`, Malformed)
	f("scheme left on", "Bearer "+token, Malformed)
	f("space before", " "+token, Malformed)
	f("space after", token+" ", Malformed)
	f("tab", token+"\t", Malformed)
	f("line feed after", token+"\n", Malformed)
	f("CRLF after", token+"\r\n", Malformed)
	f("line feed in the header", h[:4]+"\n"+h[4:]+"."+c+"."+s, Malformed)
	f("line feed in the payload", h+"."+c[:4]+"\n"+c[4:]+"."+s, Malformed)
	f("line feed in the signature", h+"."+c+"."+s[:4]+"\n"+s[4:], Malformed)
	f("NUL", token+"\x00", Malformed)
	f("padded signature", token+"=", Malformed)
	f("padded header", h+"="+"."+c+"."+s, Malformed)
	f("percent-encoded", strings.Replace(token, ".", "%2e", 1), Malformed)
	f("plus", h+"."+c+"."+s[:10]+"+"+s[11:], Malformed)
	f("slash", h+"."+c+"."+s[:10]+"/"+s[11:], Malformed)
	f("comma: two credentials in one line", token+","+token, Malformed)
	f("beyond ASCII", h+"."+c+"."+"é"+s[2:], Malformed)
	f("one byte of base64 too many", h+"."+c+"."+s+"AA", Malformed)
	f("longer than the limit", token+strings.Repeat("A", 8<<10), TooLarge)
	f("200 KB", h+"."+strings.Repeat("A", 200<<10)+"."+s, TooLarge)
}

// A good signature of 32 bytes ends in a digit that carries two bits of nothing: 3 of 4 such digits are other spellings.
func TestVerifyTrailingBits(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	p := provider(t)
	f := func(header, payload string) {
		t.Helper()
		token := mint(header, payload, hs256())
		for i, part := range strings.Split(token, ".") {
			loose := len(part) * 6 % 8
			if loose == 0 {
				continue
			}
			parts := strings.Split(token, ".")
			last := strings.IndexByte(alphabet, part[len(part)-1])
			for low := 1; low < 1<<loose; low++ {
				parts[i] = part[:len(part)-1] + string(alphabet[last|low])
				// Signed again where the part is signed: even then it is a second spelling of one token.
				if i < 2 {
					parts[2] = b64(hs256()([]byte(parts[0] + "." + parts[1])))
				}
				want(t, p, strings.Join(parts, "."), Malformed)
			}
		}
	}
	for n := range 3 {
		f(`{"alg":"HS256"}`+strings.Repeat(" ", n), claims()+strings.Repeat(" ", n))
	}
}

func TestVerifyTokenLimit(t *testing.T) {
	token := mint(hsHeader, claims(), hs256())
	exact := provider(t, func(o *ProviderOptions) { o.MaxTokenBytes = len(token) })
	want(t, exact, token, OK)
	short := provider(t, func(o *ProviderOptions) { o.MaxTokenBytes = len(token) - 1 })
	want(t, short, token, TooLarge)
}

func TestVerifyIdentity(t *testing.T) {
	f := func(name, extra string, roles, scopes []string, tenant string, change ...func(*ProviderOptions)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			id := want(t, provider(t, change...), mint(hsHeader, claims(extra), hs256()), OK)
			if !slices.Equal(id.Roles, roles) || !slices.Equal(id.Scopes, scopes) || id.Tenant != tenant {
				t.Fatalf("roles %q, scopes %q, tenant %q", id.Roles, id.Scopes, id.Tenant)
			}
		})
	}
	f("arrays", `"roles":["a","b"],"scope":["x","y"]`, []string{"a", "b"}, []string{"x", "y"}, "")
	f("strings", `"roles":"a b","scope":"x  y "`, []string{"a b"}, []string{"x", "y"}, "")
	f("fallback to scopes", `"scopes":["x"],"scp":["y"]`, nil, []string{"x"}, "")
	f("fallback to scp", `"scp":"x y"`, nil, []string{"x", "y"}, "")
	f("wrong types grant nothing", `"roles":{"a":1},"scope":7,"scp":"x"`, nil, nil, "")
	f("mixed arrays grant nothing", `"roles":["a",1],"scope":["x",null]`, nil, nil, "")
	f("only spaces split", `"scope":"x\ty\nz"`, nil, []string{"x\ty\nz"}, "")
	f("configured paths", `"realm_access":{"roles":["a"]},"p":"x","org":{"id":42},"roles":["no"],"scope":"no"`, []string{"a"}, []string{"x"}, "42",
		func(o *ProviderOptions) {
			o.RolesClaim, o.ScopesClaim, o.TenantClaim = "realm_access.roles", "p", "org.id"
		})
	id := &exchange.Identity{Roles: []string{"a"}, Scopes: []string{"x"}}
	if !id.HasRole("a") || id.HasRole("A") || !id.HasScope("x") || id.HasScope("") {
		t.Fatal("roles and scopes are compared byte for byte")
	}
}

func TestVerifyKeepsNothingOfTheToken(t *testing.T) {
	p := provider(t)
	token := []byte(mint(hsHeader, claims(`"team":"blue"`), hs256()))
	before := string(token)
	id, reason := p.Verify(token, now)
	if reason != OK || string(token) != before {
		t.Fatalf("reason %s, token changed: %v", reason, string(token) != before)
	}
	clear(token)
	if team, _ := id.Claim("team"); team != "blue" || id.Subject != "alice" {
		t.Fatalf("identity %+v points into the token", id)
	}
}
