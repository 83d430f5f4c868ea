// Package fault names everything that can go wrong with one exchange. The status to send, whether the endpoint is to
// blame, whether a second try is allowed and how loud the log is are functions of the kind; nothing else decides them.
package fault

import "errors"

// Source says whose doing a fault is.
type Source uint8

const (
	Self Source = iota
	Client
	Upstream
	Guest
)

func (s Source) String() string {
	return [...]string{"self", "client", "upstream", "guest"}[s]
}

// Kind is one way of failing. Its zero value means none.
type Kind uint8

const (
	None Kind = iota

	// Of the client.
	BadRequest
	RequestTimeout
	MethodRefused
	BodyTooLarge
	TargetTooLong
	ExpectationUnknown
	HeaderTooLarge
	CodingUnknown
	VersionUnknown
	ClientGone
	BodyTruncated
	Loop

	// Of policy: the request was well-formed and refused.
	NoRoute
	Unauthorized
	Forbidden
	LimitExceeded

	// Of the upstream.
	BreakerOpen
	UpstreamBusy
	NoEndpoint
	ConnectFailed
	UpstreamReset
	UpstreamTimeout
	BadResponse
	ResponseTruncated

	// Of a filter.
	GuestFailed
	GuestBusy
	FilterReset
	FilterAnswered
	FilterLimit

	// Of weir.
	Internal
	NotReady
	Draining
	ExchangeTimeout
	Exhausted // no descriptors or memory for one more socket

	kinds
)

// traits is the one place where a kind gets its consequences.
var traits = [kinds]struct {
	name   string
	source Source
	status int
	punish bool // counts against the endpoint (breaker)
	retry  bool // another try may be made if the request allows it
}{
	None:               {name: "none"},
	BadRequest:         {"bad_request", Client, 400, false, false},
	RequestTimeout:     {"request_timeout", Client, 408, false, false},
	MethodRefused:      {"method_refused", Client, 405, false, false},
	BodyTooLarge:       {"body_too_large", Client, 413, false, false},
	TargetTooLong:      {"target_too_long", Client, 414, false, false},
	ExpectationUnknown: {"expectation_unknown", Client, 417, false, false},
	HeaderTooLarge:     {"header_too_large", Client, 431, false, false},
	CodingUnknown:      {"coding_unknown", Client, 501, false, false},
	VersionUnknown:     {"version_unknown", Client, 505, false, false},
	ClientGone:         {"client_gone", Client, 499, false, false},
	BodyTruncated:      {"body_truncated", Client, 400, false, false},
	Loop:               {"loop", Client, 508, false, false},
	NoRoute:            {"no_route", Client, 404, false, false},
	Unauthorized:       {"unauthorized", Client, 401, false, false},
	Forbidden:          {"forbidden", Client, 403, false, false},
	LimitExceeded:      {"limit_exceeded", Client, 429, false, false},
	BreakerOpen:        {"breaker_open", Upstream, 503, false, false},
	UpstreamBusy:       {"upstream_busy", Upstream, 503, false, false},
	NoEndpoint:         {"no_endpoint", Upstream, 503, false, false},
	ConnectFailed:      {"connect_failed", Upstream, 502, true, true},
	UpstreamReset:      {"upstream_reset", Upstream, 502, true, true},
	UpstreamTimeout:    {"upstream_timeout", Upstream, 504, true, false},
	BadResponse:        {"bad_response", Upstream, 502, true, false},
	ResponseTruncated:  {"response_truncated", Upstream, 502, true, false},
	GuestFailed:        {"guest_failed", Guest, 503, false, false},
	GuestBusy:          {"guest_busy", Guest, 503, false, false},
	FilterReset:        {"filter_reset", Guest, 0, false, false},     // ended without an answer, as the filter wished
	FilterAnswered:     {"filter_answered", Client, 0, false, false}, // not a failure: how a filter's answer leaves a body
	FilterLimit:        {"filter_limit", Guest, 500, false, false},   // an answer was larger than its filter may hold
	Internal:           {"internal", Self, 500, false, false},
	NotReady:           {"not_ready", Self, 503, false, false},
	Draining:           {"draining", Self, 503, false, false},
	ExchangeTimeout:    {"exchange_timeout", Self, 504, false, false},
	Exhausted:          {"exhausted", Self, 503, false, false},
}

// String is the word for k in logs and metrics.
func (k Kind) String() string { return traits[k].name }

// Names lists the words of all kinds, each at its number.
func Names() []string {
	all := make([]string, kinds)
	for k := range all {
		all[k] = traits[k].name
	}
	return all
}

// Source tells whose doing k is.
func (k Kind) Source() Source { return traits[k].source }

// Status is the status code to answer with while nothing has been sent; 499 is only ever logged, 0 is no answer.
func (k Kind) Status() int { return traits[k].status }

// Punish reports whether k counts against the endpoint that was tried.
func (k Kind) Punish() bool { return traits[k].punish }

// Retry reports whether the kind allows another try; whether the request does is asked elsewhere.
func (k Kind) Retry() bool { return traits[k].retry }

// Fault is a Kind with its cause. Faults of the hot path are declared once per package and shared: read-only.
type Fault struct {
	Kind Kind
	Text string // for the log, never for a client
	Err  error  // the cause, or nil
}

// New makes a fault for a package-level variable.
func New(k Kind, text string) *Fault { return &Fault{Kind: k, Text: text} }

// Wrap gives err the kind k; for cold paths, it allocates.
func Wrap(k Kind, err error) *Fault { return &Fault{Kind: k, Err: err} }

func (f *Fault) Error() string {
	switch {
	case f.Err == nil && f.Text == "":
		return f.Kind.String()
	case f.Err == nil:
		return f.Text
	case f.Text == "":
		return f.Kind.String() + ": " + f.Err.Error()
	}
	return f.Text + ": " + f.Err.Error()
}

func (f *Fault) Unwrap() error { return f.Err }

// KindOf gives the kind of err: None for nil, Internal for an error that nobody gave a kind.
func KindOf(err error) Kind {
	if err == nil {
		return None
	}
	if f, ok := err.(*Fault); ok {
		return f.Kind
	}
	var f *Fault
	if errors.As(err, &f) {
		return f.Kind
	}
	return Internal
}
