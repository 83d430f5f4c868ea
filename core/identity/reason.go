package identity

// Reason says why a token was refused. It is for metrics, logs and tests only: a client is told `invalid_token` and
// nothing of which check failed (RFC 6750 §3.1), so that nobody can probe for key ids or claims.
type Reason uint8

// The reasons, about in the order in which the checks are made.
const (
	// OK is the zero value: the token was verified.
	OK Reason = iota
	// Missing: there is no token at the sources of the provider.
	Missing
	// Ambiguous: more than one credential came with the request. Set by whoever reads the sources.
	Ambiguous
	// TooLarge: the token is longer than the limit, or its header is longer than 1 KiB.
	TooLarge
	// Malformed: not three parts of strict, canonical base64url (RFC 7515 §7.1).
	Malformed
	// BadHeader: the header is not a JSON object of the members we allow, each once.
	BadHeader
	// BadType: `typ` is none of the configured types (RFC 8725 §3.11).
	BadType
	// BadAlgorithm: `alg` is not on the provider's list or does not fit the key.
	BadAlgorithm
	// UnknownKey: no key of the provider has this key id, or an id is needed to choose and none was given.
	UnknownKey
	// BadSignature: the signature is not the key's signature of these bytes.
	BadSignature
	// BadClaims: the payload is not a strict JSON object, or a registered claim has the wrong type or range.
	BadClaims
	// Expired: at or past `exp`, leeway included.
	Expired
	// NotYetValid: before `nbf`, or issued in the future, leeway included.
	NotYetValid
	// TooOld: issued longer ago than the configured age.
	TooOld
	// TooLong: issued for a longer life than configured.
	TooLong
	// BadIssuer: `iss` is not the configured issuer.
	BadIssuer
	// BadAudience: none of the configured audiences is in `aud`.
	BadAudience
	// MissingClaim: a required claim is absent, null or an empty string.
	MissingClaim
	// BadClaim: a claim does not have a configured value.
	BadClaim

	reasons
)

// String is the label in metrics and logs: a closed set, safe as a label value.
func (r Reason) String() string {
	if r >= reasons {
		return "unknown"
	}
	return reasonNames[r]
}

var reasonNames = [reasons]string{
	OK:           "ok",
	Missing:      "missing",
	Ambiguous:    "ambiguous",
	TooLarge:     "too_large",
	Malformed:    "malformed",
	BadHeader:    "bad_header",
	BadType:      "typ",
	BadAlgorithm: "alg",
	UnknownKey:   "unknown_kid",
	BadSignature: "bad_signature",
	BadClaims:    "bad_claims",
	Expired:      "expired",
	NotYetValid:  "not_yet_valid",
	TooOld:       "too_old",
	TooLong:      "too_long",
	BadIssuer:    "iss",
	BadAudience:  "aud",
	MissingClaim: "missing_claim",
	BadClaim:     "claim",
}
