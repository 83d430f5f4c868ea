// Package httpwasm lets a Go program be a filter for any host of the http-wasm handler ABI: weir, Traefik, Dapr.
//
//	package main
//
//	import "github.com/weirproxy/weir/wasm-sdk/go/httpwasm"
//
//	func init() {
//		httpwasm.HandleRequest = func(r httpwasm.Request, _ httpwasm.Response) bool {
//			r.Header().Set("x-tag", "edge")
//			return httpwasm.Next
//		}
//	}
//
//	func main() {}
//
// Build it with Go 1.24 or later:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o filter.wasm
//
// An instance of a filter serves one exchange at a time, from HandleRequest until HandleResponse has returned: what a
// filter keeps between the two may lie in a package variable. Nothing here allocates but where it says so; byte slices that
// methods return are views, valid until the next call of this package.
package httpwasm

// What HandleRequest answers.
const (
	// Next passes the request on. HandleResponse is called once there is an answer.
	Next = true
	// Stop ends the request: what was written to the Response is the answer.
	Stop = false
)

// HandleRequest is called with every request. Set it in init. Nil passes all requests on.
var HandleRequest func(Request, Response) (next bool)

// HandleResponse is called with the answer to each request that was passed on. failed is true if no answer could be had;
// the response is then the host's error. Set it in init. Nil does nothing.
var HandleResponse func(r Request, w Response, failed bool)

// Features of a host; see EnableFeatures.
const (
	// BufferRequest lets the filter read the request's body while the upstream still sees all of it.
	BufferRequest = 1 << iota
	// BufferResponse withholds the answer until HandleResponse has returned: its status and body may then be changed.
	BufferResponse
	// Trailers makes trailer fields available.
	Trailers
)

// EnableFeatures asks the host for features: for all requests if it is called in init, else for this request. It tells
// which are enabled now.
func EnableFeatures(features uint32) uint32 { return enableFeatures(features) }

// Config gives the filter's configuration as the host was given it, in memory of its own.
func Config() []byte {
	return append([]byte(nil), fill(func(p pointer, limit uint32) uint32 { return getConfig(p, limit) })...)
}

// Level is how important a line of the log is.
type Level int32

// Levels of the log.
const (
	Debug Level = iota - 1
	Info
	Warn
	Error
)

// Log writes a line to the host's log.
func Log(l Level, message string) { p, n := textOf(message); logMessage(int32(l), p, n) }

// LogEnabled tells whether lines of a level are written: making one for nothing can be saved.
func LogEnabled(l Level) bool { return logEnabled(int32(l)) != 0 }

// Request is the request. It may be changed until HandleRequest has returned.
type Request struct{}

// Method is the request's method; a view.
func (Request) Method() []byte { return fill(getMethod) }

// SetMethod changes the method.
func (Request) SetMethod(m string) { p, n := textOf(m); setMethod(p, n) }

// URI is the path and the query, as encoded as they are; a view.
func (Request) URI() []byte { return fill(getURI) }

// SetURI changes path and query.
func (Request) SetURI(uri string) { p, n := textOf(uri); setURI(p, n) }

// Protocol is HTTP/1.1 or HTTP/2.0; a view.
func (Request) Protocol() []byte { return fill(getProtocolVersion) }

// Source is the address and port of the other end of the connection; a view.
func (Request) Source() []byte { return fill(getSourceAddr) }

// Header is the request's header section.
func (Request) Header() Header { return Header{0} }

// Trailer is the request's trailer section, which is known once the body has been read.
func (Request) Trailer() Header { return Header{2} }

// Body is the request's body.
func (Request) Body() Body { return Body{0} }

// Response is the answer: in HandleRequest the filter's own, in HandleResponse the upstream's.
type Response struct{}

// Status is the status code.
func (Response) Status() int { return int(getStatusCode()) }

// SetStatus changes it; in HandleResponse only with BufferResponse.
func (Response) SetStatus(code int) { setStatusCode(uint32(code)) }

// Header is the answer's header section.
func (Response) Header() Header { return Header{1} }

// Trailer is the answer's trailer section.
func (Response) Trailer() Header { return Header{3} }

// Body is the answer's body; in HandleResponse only with BufferResponse.
func (Response) Body() Body { return Body{1} }
