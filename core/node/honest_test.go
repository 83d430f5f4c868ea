package node_test

import (
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

// honest are targets as real software sends them.
var honest = []string{
	// Object stores.
	"/bucket/photos/2024/08/IMG_0001.JPG", "/bucket/a%20b%20c.txt", "/bucket/a+b.txt", "/bucket/a%2Bb.txt", "/bucket//leading-slash", "/bucket/dir//file",
	"/bucket/key%3Dvalue/part-0000", "/bucket/year=2024/month=08/part-00000.snappy.parquet", "/bucket/%E6%97%A5%E6%9C%AC%E8%AA%9E.txt",
	"/bucket/report%20%28final%29%20v1.2.pdf", "/bucket/a%23b", "/bucket/what%3F.txt", "/bucket/100%25.txt", "/bucket/semi%3Bcolon", "/bucket/semi;colon",
	"/bucket/at@sign", "/bucket/comma,name", "/bucket/dollar$name", "/bucket/star*name", "/bucket/(paren)!'", "/bucket/a..b", "/bucket/..hidden", "/bucket/.hidden/x",
	"/bucket/trailing./x", "/bucket/file.", "/bucket/tilde~", "/bucket/~user/", "/bucket/pipe%7Cname", "/bucket/%22quoted%22", "/bucket/%5Bbrackets%5D",
	"/bucket/%7Bbraces%7D", "/bucket/back%5Cslash", "/bucket/caret%5E%60", "/bucket/emoji%F0%9F%98%80.png", "/bucket/obj?uploadId=VXBsb2Fk%2F%3D&partNumber=1",
	"/bucket/obj?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=ab",
	"/container/blob?sv=2022-11-02&ss=b&srt=sco&sp=rwdlac&se=2024-01-01T00%3A00%3A00Z&spr=https&sig=a%2Bb%2Fc%3D", "/bucket/logs/2024-08-01T10:00:00Z.json",
	// GitLab, GitHub, Gitea.
	"/api/v4/projects/group%2Fproject", "/api/v4/projects/group%2Fsub%2Fproject/repository/files/lib%2Fclass.rb/raw?ref=main",
	"/api/v4/projects/42/repository/files/app%2Fmodels%2Fkey.rb", "/api/v4/projects/group%2Fproject/merge_requests?state=opened", "/group/project/-/compare/v1.0...v2.0",
	"/repos/o/r/compare/main...feature%2Fx", "/repos/o/r/git/ref/heads%2Ffeature", "/repos/o/r/contents/.github/workflows/ci.yml", "/o/r/blob/main/a.b.c/README.md",
	"/o/r/commit/abc..def", "/o/r.git/info/refs?service=git-upload-pack", "/o/r.git/git-upload-pack", "/repos/o/r/labels/help%20wanted", "/repos/o/r/branches/fix%2F%23123",
	// Package registries.
	"/@scope%2fname", "/@scope%2Fname/-/name-1.0.0.tgz", "/@scope/name", "/org/apache/maven/maven-core/3.9.0/maven-core-3.9.0.pom.sha1", "/simple/zope.interface/",
	"/packages/source/c/charset_normalizer/c-3.0.tar.gz", "/v2/library/nginx/manifests/sha256:e4c58958181a5925816faa528ce959e487632f4cfd192f8132f71b32df2744b4",
	"/v2/a/b/c/blobs/uploads/?digest=sha256%3Aab", "/github.com/!burnt!sushi/toml/@v/v1.2.0.mod", "/golang.org/x/net/@v/list", "/v3/registration5-semver1/newtonsoft.json/index.json",
	"/nuget/Packages(Id='A.B',Version='1.0.0')", "/conan/v2/conans/zlib/1.2.11/_/_/revisions", "/crates/serde_json/1.0.0/download", "/debian/pool/main/g/g++-12/g++-12_12.2.0-14_amd64.deb",
	"/ubuntu/dists/jammy/main/i18n/Translation-en.xz", "/rpms/x/xorg-x11%2Bdrv-1:2.0.rpm", "/npm/-/v1/search?text=a/b", "/-/npm/v1/security/audits/quick",
	// OData, SharePoint, Graph.
	"/odata/Products(1)/Category", "/odata/People('russellwhyte')/Trips(0)", "/odata/$metadata", "/odata/Orders(OrderID=1,ProductID='A%2FB')?$filter=Name%20eq%20%27x%27",
	"/_api/web/GetFolderByServerRelativeUrl('/sites/Shared%20Documents')/Files", "/v1.0/me/drive/root:/Documents/a.docx:/content", "/v1.0/users/a.b@example.com/messages",
	// Wikis.
	"/wiki/C%2B%2B", "/wiki/C++", "/wiki/AC/DC", "/wiki/Caf%C3%A9", "/wiki/%C3%89tat", "/wiki/Et_al.", "/wiki/Who%27s_Afraid_of_Virginia_Woolf%3F", "/wiki/...And_Justice_for_All_(album)",
	"/wiki/Talk:%22Weird_Al%22_Yankovic", "/wiki/Special:Search/a%20b", "/wiki/.NET", "/wiki/Yahoo!", "/wiki/A*_search_algorithm", "/wiki/Dr._No", "/wiki/%E4%B8%AD%E6%96%87",
	"/wiki/S.H.E.", "/wiki/Benutzer:X/Y.", "/wiki/%D0%92%D0%B8%D0%BA%D0%B8", "/wiki/50%25", "/wiki/The_End...", "/wiki/...", "/wiki/%C2%BFQu%C3%A9%3F", "/wiki/.../Baby_One_More_Time",
	// Search, databases, time series.
	"/_search?q=user:x%20AND%20y", "/index-*/_search", "/%3Clogstash-%7Bnow%2Fd%7D%3E/_search", "/index/_doc/a%2Fb", "/a,b,c/_count", "/_cluster/settings?flat_settings=true",
	"/db/_design/d/_view/v?key=%22a%22", "/db/doc%2Fwith%2Fslash", "/db/_local%2Fcheckpoint", "/api/v1/query?query=rate(http_requests_total%5B5m%5D)", "/api/v1/label/__name__/values",
	"/solr/c/select?q=*:*", "/redfish/v1/Systems/1", "/dav/calendars/user@example.com/%7B1234%7D.ics", "/caldav/.well-known/caldav", "/.well-known/acme-challenge/x",
	// Applications.
	"/app;jsessionid=1A2B3C", "/shop/item;color=red;size=5/details", "/maps/@48.85,2.35,15z", "/tiles/12/2048/1362@2x.png", "/static/js/main.1a2b.chunk.js", "/a/b/c/",
	"/oauth2/authorize?redirect_uri=https%3A%2F%2Fapp.example%2F..%2Fcb", "/proxy/https%3A%2F%2Fexample.com%2Fa%2Fb", "/thumb/unsafe/300x200/https%3A%2F%2Fexample.com%2Fi.png",
	"/image/fetch/w_100/https://example.com/a.png", "/mailman/confirm/list/a%2Bb%40example.com", "/users/a%40b.com", "/u/%40handle", "/t/caf%E9-latin1", "/sparql?query=SELECT%20*",
	"/xmlrpc.php", "/index.php/Main_Page", "/cgi-bin/x.cgi/extra/path", "/api/urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "/ns/a:b:c", "/v1/things:batchGet", "/v1/{id}",
	"/k8s/api/v1/namespaces/x/services/https:dash:/proxy/", "/api/v1/nodes/n:10250/proxy/metrics", "/mqtt/topic/%2Fa%2Fb", "/grafana/d/abc/x?var-a=$__all", "/=", "/&", "/+", "/%20",
	"/a%20", "/%20a", "/a./b", "/a/%20/b", "/files/My%20Documents%20/x",
}

// TestHonestPaths: what real software asks for comes through as it is, whatever other routes guard.
func TestHonestPaths(t *testing.T) {
	const head = `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
jwt: {sso: {secret: {file: secret}, algorithms: [HS256]}}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
`
	token := mintHS256(t, map[string]any{"sub": "alice", "exp": 4e9})
	for name, routes := range map[string]string{
		"guarded part": `
  - {match: {path: /admin/*}, auth: {jwt: sso}, upstream: api}
  - {match: {path: /*}, auth: none, upstream: api}`,
		"open island": `
  - {match: {path: /public/*}, auth: none, upstream: api}
  - {match: {path: /*}, auth: {jwt: sso}, upstream: api}`,
		"named segments": `
  - {match: {path: /admin/*}, auth: {jwt: sso}, require: {roles: [admin]}, upstream: api}
  - {match: {path: "/api/v4/projects/{id}"}, auth: {jwt: sso}, upstream: api}
  - {match: {path: "/bucket/{key}"}, auth: {jwt: sso}, upstream: api}
  - {match: {path: /*}, auth: {jwt: sso}, upstream: api}`,
	} {
		t.Run(name, func(t *testing.T) {
			up := coretest.StartRaw(t, mirror)
			r := coretest.Start(t, head+strings.TrimPrefix(routes, "\n"), nil, coretest.Options{
				Env: map[string]string{"UPSTREAM": up.Address()}, Files: map[string]string{"secret": hmacSecret},
			})
			for _, target := range honest {
				k := r.Client()
				k.Send("GET " + target + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer " + token + "\r\n\r\n")
				answer, body := k.Answer("GET")
				sent, _, _ := strings.Cut(strings.TrimPrefix(body, "GET "), " HTTP/1.1\r\n")
				if answer.StatusCode != 200 || sent != target {
					t.Errorf("%s: %d %q", target, answer.StatusCode, sent)
				}
				k.Close()
			}
		})
	}
}
