package main

import "strings"

func hopCases() (all []kase) {
	const rule, nominated, forwarded = "§4 hop-by-hop", "§4 nominated", "§4 forwarding fields"
	for _, f := range []string{"Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: gzip", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "Proxy-Authorization: Basic eA==", "Connection: x-nothing"} {
		name, _, _ := strings.Cut(f, ":")
		all = append(all, kase{name: name, rule: rule, in: get(f + "\r\n"), forward: []string{plain}, not: []string{f}})
	}
	for _, f := range []string{"Authorization", "Cookie", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Prefix", "Forwarded", "X-Real-IP", "X-Request-Id"} {
		all = append(all, no(nominated, f, get("Connection: close, "+f+"\r\n"+f+": 6.6.6.6\r\n"), 400))
	}
	for _, f := range []string{"X-Forwarded-For", "X-Real-IP", "Forwarded"} {
		value := "for=6.6.6.6"
		if f != "Forwarded" {
			value = "6.6.6.6"
		}
		all = append(all, kase{name: f, rule: forwarded, in: get(f + ": " + value + "\r\n"), forward: []string{plain}, not: []string{value}})
	}
	return append(all,
		no(nominated, "eleven options", get("Connection: a,b,c,d,e,f,g,h,i,j,k\r\n"), 400),
		no(nominated, "eleven options on lines", get(strings.Repeat("Connection: close\r\n", 11)), 400),
		no(nominated, "no token", get("Connection: clo se\r\n"), 400),
		kase{name: "a field", rule: nominated, in: get("X-A: one\r\nConnection: x-a, X-B\r\nx-b: two\r\nX-C: three\r\n"), forward: []string{plain}, not: []string{"x-a: one", "x-b: two"}, has: []string{"x-c: three"}},
		kase{name: "a field on a second line", rule: nominated, in: get("Connection: keep-alive\r\nX-A: one\r\nConnection: X-A\r\n"), forward: []string{plain}, not: []string{"x-a: one"}},
		kase{name: "a field twice", rule: nominated, in: get("X-A: one\r\nX-a: two\r\nConnection: X-A\r\n"), forward: []string{plain}, not: []string{"x-a: "}},
		kase{name: "empty options", rule: nominated, in: get("Connection: ,, ,\r\n"), forward: []string{plain}},
		kase{name: "TE: trailers", rule: rule, in: get("TE: trailers\r\n"), forward: []string{plain}},
		kase{name: "Trailer", rule: rule, in: get("Trailer: X-Sum\r\n"), forward: []string{plain}},
		kase{name: "Upgrade to h2c", rule: "§4 h2c", in: get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"), forward: []string{plain}, never: []string{"h2c"}},
		kase{name: "Upgrade to h2c without settings", rule: "§4 h2c", in: get("Connection: Upgrade\r\nUpgrade: h2c\r\n"), forward: []string{plain}, never: []string{"h2c"}},
		kase{name: "Upgrade to h2c, not nominated", rule: "§4 h2c", in: get("Upgrade: h2c\r\n"), forward: []string{plain}, never: []string{"h2c"}},
		kase{name: "Upgrade to websocket and h2c", rule: "§4 h2c", in: get("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"), refuse: true, either: true, forward: []string{plain}, never: []string{"h2c"}},
		kase{name: "Upgrade to TLS", rule: "§4 h2c", in: get("Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n"), forward: []string{plain}, not: []string{"tls/1.0"}},
	)
}

const shake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

func expectCases() []kase {
	const expect, upgrade = "§5 Expect", "§5 upgrade"
	all := stays(
		no(expect, "something else", get("Expect: foo\r\n"), 417),
		no(expect, "a list", post("Expect: 100-continue, foo\r\nContent-Length: 5\r\n", "hello"), 417),
		no(expect, "100-continue with a value", post("Expect: 100-continue=x\r\nContent-Length: 5\r\n", "hello"), 417),
		no(expect, "twice", post("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", "hello"), 417),
		no(expect, "nothing", post("Expect:\r\nContent-Length: 5\r\n", "hello"), 417),
		// Its end is unknown to who does not read the body: then the connection must close, which a probe on it would tell.
	)
	return append(all,
		yes(expect, "100-continue", post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello"), "POST /x @a.example =hello"),
		yes(expect, "100-Continue, chunked", post("Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"), "POST /x @a.example =hello"),
		yes(expect, "without a body", get("Expect: 100-continue\r\n"), plain),
		yes(expect, "ignored on HTTP/1.0", "POST /x HTTP/1.0\r\n"+host+"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", "POST /x @a.example =hello"),
		kase{name: "obeyed", rule: expect, in: post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello") + get(""), forward: []string{"POST /x @a.example =hello", plain}},

		no(upgrade, "websocket without a key", get(shake), 400),
		no(upgrade, "websocket with two keys", get(shake+key+key), 400),
		no(upgrade, "websocket with a short key", get(shake+"Sec-WebSocket-Key: abc=\r\n"), 400),
		no(upgrade, "websocket of version 8", get(strings.Replace(shake, "13", "8", 1)+key), 400),
		no(upgrade, "websocket by POST", post(shake+key, ""), 400),
		no(upgrade, "websocket with a body", get(shake+key+"Content-Length: 5\r\n")+"hello", 400),
		no(upgrade, "websocket with a chunked body", get(shake+key+"Transfer-Encoding: chunked\r\n")+"0\r\n\r\n", 400),
		kase{name: "nothing behind a handshake is forwarded before the 101", rule: upgrade, in: get(shake+key) + smug, forward: []string{plain, "GET /smuggled @a.example"}},
		kase{name: "a handshake that the upstream takes", rule: upgrade, in: strings.Replace(get(shake+key), "/x", "/tunnel", 1), forward: []string{"GET /tunnel @a.example"}, has: []string{"upgrade: websocket"}},
		kase{name: "websocket on HTTP/1.0", rule: upgrade, in: strings.Replace(get(shake+key), "HTTP/1.1", "HTTP/1.0", 1), forward: []string{plain}, not: []string{"upgrade: websocket"}},
		kase{name: "Upgrade without Connection", rule: upgrade, in: get("Upgrade: websocket\r\n"), forward: []string{plain}, not: []string{"upgrade: websocket"}},
	)
}

func pipelineCases() []kase {
	const rule = "§1 pipelined"
	a := func(n string) string { return "GET /" + n + " HTTP/1.1\r\n" + host + "\r\n" }
	first := func(name, bad string, status int) kase {
		return kase{name: name, rule: rule, in: a("1") + bad + smug, forward: []string{"GET /1 @a.example"}, refuse: true, status: status}
	}
	return []kase{
		{name: "three requests", rule: rule, in: a("1") + a("2") + a("3"), forward: []string{"GET /1 @a.example", "GET /2 @a.example", "GET /3 @a.example"}},
		{name: "with bodies", rule: rule, in: post("Content-Length: 5\r\n", "hello") + chunked("5\r\nagain\r\n0\r\n\r\n") + a("3"),
			forward: []string{"POST /x @a.example =hello", "POST /x @a.example =again", "GET /3 @a.example"}},
		{name: "with empty lines between", rule: rule, in: post("Content-Length: 5\r\n", "hello") + "\r\n" + a("2") + "\r\n\r\n" + a("3"),
			forward: []string{"POST /x @a.example =hello", "GET /2 @a.example", "GET /3 @a.example"}},
		{name: "HEAD before GET", rule: rule, in: start("HEAD /1 HTTP/1.1") + a("2"), forward: []string{"HEAD /1 @a.example", "GET /2 @a.example"}},
		{name: "nothing after close", rule: rule, in: get("Connection: close\r\n") + smug, forward: []string{plain}, never: []string{"smuggled"}},
		{name: "nothing after HTTP/1.0", rule: rule, in: start("GET /x HTTP/1.0") + smug, forward: []string{plain}, never: []string{"smuggled"}},
		{name: "surplus behind a body is the next request, and bad", rule: rule, in: post("Content-Length: 5\r\n", "hello\x01\x02"), forward: []string{"POST /x @a.example =hello"}, refuse: true, status: 400},
		{name: "surplus behind a GET without a length", rule: rule, in: get("") + "hello=world\r\n\r\n", forward: []string{plain}, refuse: true, status: 400},
		first("after a good one, TE and CL", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400),
		first("after a good one, a bad name", get("X Y: z\r\n"), 400),
		first("after a good one, a bad version", start("GET /x HTTP/7.3"), 505),
		first("after a good one, two Hosts", get(host), 400),
		first("after a good one, a bad chunk", chunked("z\r\n"), 400),
		first("after a good one, no request", "\x01\x02\x03\r\n\r\n", 400),
	}
}

// fragmentCases stop at every part of a head, after which a proxy must wait, and then go on.
func fragmentCases() (all []kase) {
	whole := get("")
	for _, at := range []string{"G", "GET ", "GET /x", "GET /x ", "GET /x HTTP", "GET /x HTTP/1.1", "GET /x HTTP/1.1\r", "GET /x HTTP/1.1\r\n", "GET /x HTTP/1.1\r\nHos", "GET /x HTTP/1.1\r\nHost:",
		"GET /x HTTP/1.1\r\nHost: ", "GET /x HTTP/1.1\r\nHost: a.exa", "GET /x HTTP/1.1\r\nHost: a.example\r", "GET /x HTTP/1.1\r\nHost: a.example\r\n", "GET /x HTTP/1.1\r\nHost: a.example\r\n\r"} {
		all = append(all, kase{name: "waits after " + strings.NewReplacer("\r", "␍", "\n", "␊").Replace(at), rule: "§1 fragments", pieces: []string{at}, in: strings.TrimPrefix(whole, at), forward: []string{plain}})
	}
	return all
}
