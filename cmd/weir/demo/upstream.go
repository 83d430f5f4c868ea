package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// echoed is what the upstream says it was asked.
type echoed struct {
	Method string            `json:"method"`
	Target string            `json:"target"`
	Host   string            `json:"host"`
	Header map[string]string `json:"header"`
	Body   string            `json:"body,omitempty"`
}

// maxEchoed is the most bytes of a body that are echoed.
const maxEchoed = 64 << 10

// startUpstream serves the demo's upstream on a loopback port. Close of the listener ends it.
func startUpstream() (net.Listener, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", echo)
	mux.HandleFunc("/events", events)
	mux.HandleFunc("/socket", socket)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(ln) }()
	return ln, nil
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxEchoed))
	e := echoed{Method: r.Method, Target: r.URL.RequestURI(), Host: r.Host, Header: map[string]string{}, Body: string(body)}
	for name, values := range r.Header {
		if name != "Authorization" {
			sort.Strings(values)
			e.Header[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	_ = out.Encode(e)
}

// events streams a Server-Sent Event a second until the client leaves.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	for n := 1; ; n++ {
		if _, err := fmt.Fprintf(w, "id: %d\ndata: {\"tick\":%d,\"time\":%q}\n\n", n, n, time.Now().UTC().Format(time.RFC3339)); err != nil {
			return
		}
		if flush.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// socket echoes WebSocket messages.
func socket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}
