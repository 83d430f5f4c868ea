// Package identity answers who sent a request and what that one may do: it verifies JSON Web Tokens strictly
// (RFC 7515, 7519, 8725), keeps verified ones in a bounded cache, and judges an Identity by a Policy. It knows nothing
// of requests and of configuration files: callers hand it bytes, plain options and the time.
package identity

import "github.com/weirproxy/weir/core/exchange"

// Identity is what a token proved, as the rest of weir sees it, and how long. It is immutable once made and shared by
// pointer between requests: nobody may change it or the slices it hands out. All methods may be called concurrently.
type Identity struct {
	exchange.Identity // its Claims are everything the token says
	// Expires is `exp` in seconds since the epoch; 0 means never.
	Expires int64

	claims Claims
	// The seconds in which the token is valid, leeway included, so that a cached identity is checked by comparing.
	notBefore, notAfter, staleAfter int64
}
