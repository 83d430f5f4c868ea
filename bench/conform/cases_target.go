package main

import "strings"

func hostCases() (all []kase) {
	const rule = "§3 Host"
	named := func(h string) string { return "GET /x HTTP/1.1\r\nHost: " + h + "\r\n\r\n" }
	for _, v := range []struct{ name, host string }{
		{"empty", ""}, {"8-bit", "\xe4.example"}, {"script", "<script>"}, {"comma", "a.example,b.example"}, {"userinfo", "user:pass@a.example"}, {"user", "u@a.example"},
		{"path", "a.example/b"}, {"query", "a.example?b"}, {"fragment", "a.example#b"}, {"inner space", "a example"}, {"backslash", `a\b`}, {"quote", `a"b`}, {"port too large", "a.example:65536"},
		{"port of letters", "a.example:8o"}, {"negative port", "a.example:-1"}, {"two ports", "a.example:1:2"}, {"port alone", ":80"}, {"IPv6 without brackets", "::1"}, {"unclosed bracket", "[::1"},
		{"brackets around a name", "[a.example]"}, {"bytes behind the bracket", "[::1]x"}, {"zone", "[fe80::1%25eth0]"}, {"encoded slash", "a.example%2fb"}, {"encoded CRLF", "a%0d%0ab"}, {"semicolon", "a.example;b"},
		{"VT", "a.example\v"}, {"300 bytes", strings.Repeat("a", 300)}, {"scheme", "http://a.example"}, {"asterisk", "*"}, {"braces", "{a}"},
	} {
		all = append(all, no(rule, v.name, named(v.host), 400))
	}
	return append(all,
		no(rule, "none", "GET /x HTTP/1.1\r\nX: y\r\n\r\n", 400),
		no(rule, "none, with a length", "GET /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 400),
		no(rule, "two that differ", get("Host: b.example\r\n"), 400),
		no(rule, "two that are equal", get("Host: a.example\r\n"), 400),
		no(rule, "two, the second in odd case", get("hOST: b.example\r\n"), 400),
		no(rule, "two on HTTP/1.0", "GET /x HTTP/1.0\r\n"+host+"Host: b.example\r\n\r\n", 400),
		no(rule, "named by Connection", get("Connection: Host\r\n"), 400),
		yes(rule, "port", named("a.example:8080"), "GET /x @a.example:8080"),
		yes(rule, "capitals", named("A.Example"), "GET /x @A.Example"),
		yes(rule, "dot at the end", named("a.example."), "GET /x @a.example."),
		yes(rule, "IPv4", named("127.0.0.1:80"), "GET /x @127.0.0.1:80"),
		yes(rule, "IPv6", named("[::1]:80"), "GET /x @[::1]:80"),
		yes(rule, "IPv6 without a port", named("[2001:db8::1]"), "GET /x @[2001:db8::1]"),
		yes(rule, "underscore", named("my_service:80"), "GET /x @my_service:80"),
	)
}

func targetCases() []kase {
	const rule = "§3 target"
	absolute := func(name, in string, forward string) kase {
		k := yes(rule, name, in, forward)
		k.mild = true // what goes on as an absolute form is legal, too
		return k
	}
	return []kase{
		no(rule, "no slash", to("x"), 400),
		no(rule, "query alone", to("?x"), 400),
		no(rule, "authority", to("a.example:80"), 400),
		no(rule, "asterisk for GET", to("*"), 400),
		no(rule, "more than an asterisk", start("OPTIONS *x HTTP/1.1"), 400),
		no(rule, "fragment", to("/a#b"), 400),
		no(rule, "fragment in a query", to("/a?b#c"), 400),
		no(rule, "control", to("/a\x01"), 400),
		no(rule, "DEL", to("/a\x7f"), 400),
		no(rule, "8-bit", to("/\xc3\xa9"), 400),
		no(rule, "overlong dot", to("/\xc0\xae\xc0\xae/x"), 400),
		no(rule, "absolute, another host", to("http://b.example/"), 400),
		no(rule, "absolute, another port", to("http://a.example:81/"), 400),
		no(rule, "absolute, no host", to("http:///x"), 400),
		no(rule, "absolute, nothing", to("http://"), 400),
		no(rule, "absolute, userinfo", to("http://u:p@a.example/"), 400),
		no(rule, "absolute, empty userinfo", to("http://@a.example/"), 400),
		no(rule, "absolute, userinfo that looks like the host", to("http://a.example@b.example/"), 400),
		no(rule, "absolute, backslash", to(`http://a.example\b/`), 400),
		no(rule, "absolute, https on a plain port", to("https://a.example/"), 400),
		no(rule, "absolute, another scheme", to("ftp://a.example/"), 400),
		no(rule, "absolute, javascript", to("javascript:alert(1)"), 400),
		no(rule, "absolute, one slash", to("http:/a.example/"), 400),
		no(rule, "absolute, no Host field", "GET http://a.example/ HTTP/1.1\r\n\r\n", 400),
		no(rule, "absolute, two Host fields", "GET http://a.example/ HTTP/1.1\r\n"+host+host+"\r\n", 400),
		absolute("absolute", to("http://a.example/b?c"), "GET /b?c @a.example"),
		absolute("absolute, capitals", to("HTTP://A.example/b"), "GET /b @a.example"),
		absolute("absolute, no path", to("http://a.example"), "GET / @a.example"),
		absolute("absolute, query only", to("http://a.example?b"), "GET /?b @a.example"),
		absolute("absolute, the scheme's port", to("http://a.example:80/"), "GET / @a.example:80"),
		absolute("absolute, HTTP/1.0", "GET http://a.example/ HTTP/1.0\r\n\r\n", "GET / @a.example"),
		absolute("absolute, OPTIONS of the server", start("OPTIONS http://a.example HTTP/1.1"), "OPTIONS * @a.example"),
		yes(rule, "asterisk", start("OPTIONS * HTTP/1.1"), "OPTIONS * @a.example"),
		yes(rule, "query", to("/a?b=c"), "GET /a?b=c @a.example"),
		yes(rule, "empty query", to("/a?"), "GET /a? @a.example"),
		yes(rule, "question marks", to("/a?b?c"), "GET /a?b?c @a.example"),
		yes(rule, "URL in a query", to("/a?u=http://b.example/../x"), "GET /a?u=http://b.example/../x @a.example"),
		yes(rule, "browser's query", to(`/a?q={"x":[1]}|^`), `GET /a?q={"x":[1]}|^ @a.example`),
		yes(rule, "8,000 bytes", to("/"+strings.Repeat("a", 7999)), "GET /"+strings.Repeat("a", 7999)+" @a.example"),
	}
}

// pathCases: a form that is only spelt otherwise is forwarded as it is routed on, normalised; one that another reader takes for
// another path is refused.
func pathCases() (all []kase) {
	const rule = "§3 path"
	for _, v := range []struct{ name, path string }{
		{"bad percent", "/%zz"}, {"cut percent", "/a%4"}, {"percent at the end", "/a%"}, {"percent u", "/%u002e%u002e/x"}, {"encoded NUL", "/a%00"}, {"encoded NUL before a suffix", "/a.php%00.jpg"},
		{"encoded CR", "/a%0d"}, {"encoded LF", "/a%0aX:y"}, {"encoded CRLF", "/a%0d%0aX:%20y"}, {"encoded DEL", "/a%7f"}, {"backslash", `/a\b`}, {"backslash dots", `/a/..\b`}, {"backslash first", `\a`},
		{"dots and parameter", "/a/..;/b"}, {"dots and named parameter", "/a/..;x=1/b"}, {"dot and parameter", "/a/.;/b"}, {"dots and encoded parameter", "/a/..%3bx/b"},
		{"doubly encoded dots", "/a/%252e%252e/b"}, {"once and doubly encoded dots", "/a/%2e%252e/b"}, {"doubly encoded dot", "/a/%252e/b"}, {"doubly encoded dots at the end", "/a/%252E%252E"},
		{"dots before an encoded slash", "/a/..%2fb"}, {"dots behind an encoded slash", "/a%2f../b"}, {"encoded dots and slash", "/a/%2e%2e%2fb"}, {"dots before an encoded backslash", "/a/..%5cb"},
		{"dots before a doubly encoded slash", "/a/..%252fb"}, {"dots before a doubly encoded backslash", "/a/..%255cb"}, {"encoded slash, dots, encoded slash", "/a%2f..%2fb"},
	} {
		all = append(all, no(rule, v.name, to(v.path), 400))
	}
	for _, v := range []struct{ name, path, want string }{
		{"unreserved decoded", "/%61%2d%7E", "/a-~"}, {"dot", "/a/./b", "/a/b"}, {"dots", "/a/../b", "/b"}, {"dots at the end", "/a/b/..", "/a/"}, {"dot at the end", "/a/.", "/a/"},
		{"dots above the root", "/../../b", "/b"}, {"dots only", "/..", "/"}, {"encoded dots", "/a/%2e%2E/b", "/b"}, {"half encoded dots", "/a/.%2e/b", "/b"}, {"encoded letters of a guarded path", "/%61dmin", "/admin"},
		{"dots and query", "/a/..?q=/../x", "/?q=/../x"}, {"slashes and dots", "/a//../b", "/a/b"}, {"parameter before dots", "/a;x/../b", "/b"},
		{"digits in capitals", "/%c3%a9%3a", "/%C3%A9%3A"},
	} {
		k := yes(rule, v.name, to(v.path), "GET "+v.want+" @a.example")
		k.mild = true
		all = append(all, k)
	}
	for _, v := range []struct{ name, path string }{
		{"encoded space", "/a%20b"}, {"encoded percent", "/100%25"}, {"encoded letter", "/%C3%A9"}, {"encoded slash kept", "/a%2fb"}, {"encoded slash kept, capital", "/a%2Fb"}, {"encoded backslash kept", "/a%5cb"},
		{"two slashes kept", "/a//b"}, {"two slashes first", "//a.example/x"}, {"slash at the end", "/a/"}, {"three dots", "/.../b"}, {"hidden file", "/.well-known/x"}, {"parameter", "/a;x=1/b"}, {"sub-delimiters", "/a!$&'()*+,=:@b"},
		{"doubly encoded letter", "/%2561dmin"}, {"dots in a name", "/a..b/c.."}, {"percent in a query", "/a?b=%zz%2e"}, {"tilde", "/~user/x"},
	} {
		all = append(all, yes(rule, v.name, to(v.path), "GET "+v.path+" @a.example"))
	}
	return all
}
