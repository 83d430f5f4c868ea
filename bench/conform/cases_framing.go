package main

import (
	"fmt"
	"strings"
)

func lengthCases() (all []kase) {
	const rule = "§2 Content-Length"
	for _, v := range []struct{ name, value string }{
		{"signed", "+5"}, {"negative", "-5"}, {"very negative", "-123456789123456789123456789"}, {"hex", "0x5"}, {"dot", "5.0"}, {"exponent", "5e0"},
		{"underscore", "0_5"}, {"inner space", "5 5"}, {"inner tab", "5\t5"}, {"list of equals", "5, 5"}, {"list that differs", "5, 6"}, {"comma at the end", "5,"},
		{"comma first", ",5"}, {"empty", ""}, {"quoted", `"5"`}, {"word", "abc"}, {"other digits", "\xd9\xa5"}, {"semicolon", "5;a=b"},
		{"overflow", "9223372036854775808"}, {"wraps to 5", "18446744073709551621"}, {"wraps 32 bits to 5", "4294967301x"}, {"thousand digits", strings.Repeat("9", 1000)},
	} {
		all = append(all, no(rule, v.name, post("Content-Length: "+v.value+"\r\n", "hello"+smug), 400))
	}
	return append(all,
		no(rule, "two that differ", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"+smug), 400),
		hides(no(rule, "two that differ, the greater first", post(behind+"Content-Length: 5\r\n", "hello"+smug), 400)),
		no(rule, "two that are equal in other digits", post("Content-Length: 5\r\nContent-Length: 05\r\n", "hello"+smug), 400),
		no(rule, "two, one bad", post("Content-Length: 5\r\nContent-Length: x\r\n", "hello"+smug), 400),
		no(rule, "two that differ in case", post("Content-Length: 5\r\ncontent-length: 0\r\n", "hello"+smug), 400),
		either(rule, "two that are equal", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), 0, "POST /x @a.example =hello"),
		either(rule, "leading zeros", post("Content-Length: 0005\r\n", "hello"), 0, "POST /x @a.example =hello"),
		either(rule, "zeros", post("Content-Length: 00\r\n", ""), 0, "POST /x @a.example"),
		yes(rule, "a body", post("Content-Length: 5\r\n", "hello"), "POST /x @a.example =hello"),
		yes(rule, "a body in odd case", post("cONTENT-lENGTH: 5\r\n", "hello"), "POST /x @a.example =hello"),
		yes(rule, "no body", post("Content-Length: 0\r\n", ""), "POST /x @a.example"),
		yes(rule, "no length", post("", ""), "POST /x @a.example"),
		yes(rule, "space around", post("Content-Length: \t5 \r\n", "hello"), "POST /x @a.example =hello"),
		yes(rule, "a GET with a body", "GET /x HTTP/1.1\r\n"+host+"Content-Length: 5\r\n\r\nhello", "GET /x @a.example =hello"),
		yes(rule, "a DELETE with a body", "DELETE /x HTTP/1.1\r\n"+host+"Content-Length: 5\r\n\r\nhello", "DELETE /x @a.example =hello"),
		yes(rule, "a body that looks like a request", post(fmt.Sprintf("Content-Length: %d\r\n", len(smug)), smug), "POST /x @a.example ="+smug),
		yes(rule, "a large body", post("Content-Length: 200000\r\n", strings.Repeat("b", 200000)), "POST /x @a.example ="+strings.Repeat("b", 200000)),
		no(rule, "HTTP/1.0 with two that differ", "POST /x HTTP/1.0\r\n"+host+"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"+smug, 400),
	)
}

func either(rule, name, in string, status int, forward ...string) kase {
	return kase{rule: rule, name: name, in: in, refuse: true, either: true, status: status, forward: forward}
}

func codingCases() (all []kase) {
	const rule = "§2 Transfer-Encoding"
	const body = "0\r\n\r\n" + smug
	// Each form that some reader takes for chunked and another passes over, alone and beside a length.
	for _, v := range []struct {
		name, field string
		status      int
	}{
		{"after a tab", "Transfer-Encoding:\tchunked", 400}, {"after two spaces", "Transfer-Encoding:  chunked", 400}, {"before a space", "Transfer-Encoding: chunked ", 400},
		{"before a tab", "Transfer-Encoding: chunked\t", 400}, {"after VT", "Transfer-Encoding: \vchunked", 400}, {"before VT", "Transfer-Encoding: chunked\v", 400},
		{"after FF", "Transfer-Encoding: \fchunked", 400}, {"after NUL", "Transfer-Encoding: \x00chunked", 400}, {"after NBSP", "Transfer-Encoding: \xa0chunked", 400},
		{"twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400}, {"twice in a list", "Transfer-Encoding: chunked, chunked", 400},
		{"comma at the end", "Transfer-Encoding: chunked,", 400}, {"comma first", "Transfer-Encoding: ,chunked", 400}, {"commas", "Transfer-Encoding: ,", 400},
		{"parameter", "Transfer-Encoding: chunked;q=1", 400}, {"semicolon", "Transfer-Encoding: chunked;", 400}, {"quoted", `Transfer-Encoding: "chunked"`, 400}, {"half quoted", `Transfer-Encoding: chunked"`, 400},
		{"xchunked", "Transfer-Encoding: xchunked", 400}, {"chunkedx", "Transfer-Encoding: chunkedx", 400}, {"chunk", "Transfer-Encoding: chunk", 400}, {"cow", "Transfer-Encoding: cow", 400},
		{"empty", "Transfer-Encoding:", 400}, {"K for k", "Transfer-Encoding: chun\u212aed", 400}, {"identity", "Transfer-Encoding: identity", 501}, {"gzip", "Transfer-Encoding: gzip", 501},
		{"gzip, chunked", "Transfer-Encoding: gzip, chunked", 501}, {"chunked, identity", "Transfer-Encoding: chunked, identity", 400}, {"identity, chunked", "Transfer-Encoding: identity, chunked", 501},
		{"chunked and identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 501}, {"identity and chunked", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", 501},
		{"chunked and cow", "Transfer-Encoding: chunked\r\nTransfer-encoding: cow", 400}, {"chunked and nothing", "Transfer-Encoding: chunked\r\nTransfer-Encoding:", 400},
	} {
		all = append(all,
			no(rule, v.name, post(v.field+"\r\n", body), v.status),
			hides(no(rule, v.name+", with a length", post(behind+v.field+"\r\n", body), v.status)))
	}
	return append(all,
		hides(no(rule, "chunked, then a length", post("Transfer-Encoding: chunked\r\n"+behind, body), 400)),
		hides(no(rule, "a length, then chunked", post(behind+"Transfer-Encoding: chunked\r\n", body), 400)),
		hides(no(rule, "a length of 4 that ends in a chunk", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "5c\r\nGET /smuggled HTTP/1.1\r\nX: y\r\n\r\n0\r\n\r\n"), 400)),
		no(rule, "a length of 0 and chunked", post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", body), 400),
		no(rule, "odd case of both", post("content-LengtH: 5\r\nTransFer-Encoding: CHUNKED\r\n", body), 400),
		no(rule, "chunked on HTTP/1.0", "POST /x HTTP/1.0\r\n"+host+"Transfer-Encoding: chunked\r\n\r\n"+body, 400),
		no(rule, "chunked on HTTP/1.0, kept alive", "POST /x HTTP/1.0\r\n"+host+"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"+body, 400),
		hides(no(rule, "chunked and a length on HTTP/1.0", "POST /x HTTP/1.0\r\n"+host+"Connection: keep-alive\r\n"+behind+"Transfer-Encoding: chunked\r\n\r\n"+body, 400)),
		hides(no(rule, "chunked on GET beside a length", "GET /x HTTP/1.1\r\n"+host+behind+"Transfer-Encoding: chunked\r\n\r\n"+body, 400)),
		no(rule, "Connection names Transfer-Encoding", post("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", body), 400),
		hides(no(rule, "Connection names Transfer-Encoding beside a length", post("Connection: close, transfer-encoding\r\n"+behind+"Transfer-Encoding: chunked\r\n", body), 400)),
		no(rule, "Connection names Content-Length", post("Connection: Content-Length\r\nContent-Length: 5\r\n", "hello"+smug), 400),
		yes(rule, "chunked", post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"), "POST /x @a.example =hello"),
		yes(rule, "Chunked", post("tRANSFER-eNCODING: Chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"), "POST /x @a.example =hello"),
		yes(rule, "without a space", post("Transfer-Encoding:chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"), "POST /x @a.example =hello"),
		yes(rule, "a GET that is chunked", "GET /x HTTP/1.1\r\n"+host+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "GET /x @a.example =hello"),
	)
}

func chunked(body string) string { return post("Transfer-Encoding: chunked\r\n", body) }

func chunkCases() (all []kase) {
	const size, data, extension, trailer = "§2 chunk size", "§2 chunk data", "§2 chunk extensions", "§2 trailers"
	for _, v := range []struct{ name, size string }{
		{"empty", ""}, {"space", " "}, {"signed", "+5"}, {"negative", "-5"}, {"0x", "0x5"}, {"h", "5h"}, {"underscore", "0_5"}, {"space first", " 5"}, {"space last", "5 "},
		{"tab last", "5\t"}, {"space before an extension", "5 ;x=y"}, {"NUL", "5\x00"}, {"comma", "5,"}, {"two numbers", "5 0"}, {"CR", "5\r"}, {"g", "g"}, {"17 digits", "10000000000000005"},
		{"sign bit", "8000000000000005"}, {"all ones", "ffffffffffffffff"}, {"other digits", "\xd9\xa5"}, {"quoted", `"5"`}, {"dot", "5.0"}, {"VT last", "5\v"},
	} {
		all = append(all, no(size, v.name, chunked(v.size+"\r\nhello\r\n0\r\n\r\n"+smug), 400))
	}
	cuts := []kase{
		no(size, "zero with a sign", chunked("5\r\nhello\r\n-0\r\n\r\n"+smug), 400),
		no(size, "zero with a space", chunked("5\r\nhello\r\n0 \r\n\r\n"+smug), 400),
		no(size, "0x0", chunked("5\r\nhello\r\n0x0\r\n\r\n"+smug), 400),
		no(size, "bare LF behind it", chunked("5\nhello\r\n0\r\n\r\n"+smug), 400),
		no(size, "bare CR behind it", chunked("5\rhello\r\n0\r\n\r\n"+smug), 400),
		no(size, "CR CR LF behind it", chunked("5\r\r\nhello\r\n0\r\n\r\n"+smug), 400),
		no(size, "bare LF behind the last", chunked("5\r\nhello\r\n0\n\r\n"+smug), 400),
		no(size, "an empty line first", chunked("\r\n5\r\nhello\r\n0\r\n\r\n"+smug), 400),
		no(size, "bad after good ones", chunked("5\r\nhello\r\n5\r\nhello\r\nzz\r\n"+smug), 400),
		no(data, "bare LF behind it", chunked("5\r\nhello\n0\r\n\r\n"+smug), 400),
		no(data, "bare CR behind it", chunked("5\r\nhello\r0\r\n\r\n"+smug), 400),
		no(data, "CR CR LF behind it", chunked("5\r\nhello\r\r\n0\r\n\r\n"+smug), 400),
		no(data, "nothing behind it", chunked("5\r\nhello0\r\n\r\n"+smug), 400),
		no(data, "longer than its size", chunked("5\r\nhellohello\r\n0\r\n\r\n"+smug), 400),
		no(data, "two bytes too many", chunked("3\r\nabcXX0\r\n\r\n"+smug), 400),
		no(data, "shorter than its size", chunked("7\r\nhello\r\n0\r\n\r\n"+smug), 400),
		no(data, "bare LF behind the end", chunked("5\r\nhello\r\n0\r\n\n"+smug), 400),
		no(data, "CR and a byte behind the end", chunked("5\r\nhello\r\n0\r\n\rX"+smug), 400),

		no(extension, "bare LF", chunked("5;a\nb\r\nhello\r\n0\r\n\r\n"+smug), 400),
		no(extension, "bare LF that ends it", chunked("5;\nhello\r\n0\r\n\r\n"+smug), 400),
		no(extension, "bare CR", chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"+smug), 400),
		no(extension, "NUL", chunked("5;a\x00b\r\nhello\r\n0\r\n\r\n"+smug), 400),
		no(extension, "of 300 bytes", chunked("5;"+strings.Repeat("a", 300)+"\r\nhello\r\n0\r\n\r\n"), 400),
		no(extension, "of 64 KiB", chunked("5;"+strings.Repeat("a", 64<<10)+"\r\nhello\r\n0\r\n\r\n"), 400),
		no(extension, "of 200 bytes, forty times", chunked(strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 40)+"0\r\n\r\n"), 400),
		no(extension, "bare LF behind the last chunk", chunked("0;a\n\r\n"+smug), 400),

		no(trailer, "space in a name", chunked("0\r\nX A: b\r\n\r\n"+smug), 400),
		no(trailer, "space before the colon", chunked("0\r\nX : b\r\n\r\n"+smug), 400),
		no(trailer, "no colon", chunked("0\r\nXa\r\n\r\n"+smug), 400),
		no(trailer, "folded", chunked("0\r\nX: a\r\n b\r\n\r\n"+smug), 400),
		no(trailer, "bare LF", chunked("0\r\nX: a\nY: b\r\n\r\n"+smug), 400),
		no(trailer, "bare CR", chunked("0\r\nX: a\rb\r\n\r\n"+smug), 400),
		no(trailer, "NUL", chunked("0\r\nX: a\x00\r\n\r\n"+smug), 400),
		no(trailer, "a thousand fields", chunked("0\r\n"+strings.Repeat("X: a\r\n", 1000)+"\r\n"), 400),
	}
	all = append(all, cuts...)
	all = append(all,
		yes(size, "upper case", chunked("A\r\n0123456789\r\n0\r\n\r\n"), "POST /x @a.example =0123456789"),
		yes(size, "lower case", chunked("a\r\n0123456789\r\n0\r\n\r\n"), "POST /x @a.example =0123456789"),
		yes(size, "leading zeros", chunked("000a\r\n0123456789\r\n00\r\n\r\n"), "POST /x @a.example =0123456789"),
		yes(size, "many small chunks", chunked(strings.Repeat("1\r\nx\r\n", 1000)+"0\r\n\r\n"), "POST /x @a.example ="+strings.Repeat("x", 1000)),
		yes(size, "no chunk but the last", chunked("0\r\n\r\n"), "POST /x @a.example"),
		yes(data, "data that looks like chunks", chunked("5\r\n0\r\n\r\n\r\n0\r\n\r\n"), "POST /x @a.example =0\r\n\r\n"),
		kase{name: "dropped", rule: extension, in: chunked("5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n"), forward: []string{"POST /x @a.example =hello"}, not: []string{"a=b"}},
		kase{name: "empty", rule: extension, in: chunked("5;\r\nhello\r\n0\r\n\r\n"), forward: []string{"POST /x @a.example =hello"}},
		kase{name: "passed on or dropped", rule: trailer, in: chunked("5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), forward: []string{"POST /x @a.example =hello"}},
	)
	for _, f := range []string{"Content-Length: 1", "Transfer-Encoding: gzip", "Host: b.example", "Authorization: Basic eA==", "Cookie: a=b", "X-Forwarded-For: 6.6.6.6", "Content-Type: text/evil"} {
		name, _, _ := strings.Cut(f, ":")
		all = append(all, kase{name: name, rule: trailer, in: chunked("5\r\nhello\r\n0\r\n" + f + "\r\n\r\n"), refuse: true, either: true,
			forward: []string{"POST /x @a.example =hello"}, not: []string{f}})
	}
	return all
}

// bodyCases are messages that end too early.
func bodyCases() (all []kase) {
	const rule = "§2 ends early"
	add := func(name, in string) {
		k := no(rule, name, in, 400)
		k.fin, k.cut = true, true
		all = append(all, k)
	}
	add("fixed, nothing", post("Content-Length: 5\r\n", ""))
	add("fixed, part", post("Content-Length: 5\r\n", "hel"))
	add("fixed, all but one", post("Content-Length: 5\r\n", "hell"))
	add("fixed, large", post("Content-Length: 200000\r\n", strings.Repeat("b", 199999)))
	add("chunked, nothing", chunked(""))
	add("chunked, half a size line", chunked("5\r"))
	add("chunked, a size line", chunked("5\r\n"))
	add("chunked, half a chunk", chunked("5\r\nhel"))
	add("chunked, a chunk without its end", chunked("5\r\nhello"))
	add("chunked, at a boundary", chunked("5\r\nhello\r\n"))
	add("chunked, a zero", chunked("5\r\nhello\r\n0"))
	add("chunked, the last chunk", chunked("5\r\nhello\r\n0\r\n"))
	add("chunked, a trailer field", chunked("5\r\nhello\r\n0\r\nX: y\r\n"))
	add("chunked, all but LF", chunked("5\r\nhello\r\n0\r\n\r"))
	return all
}
