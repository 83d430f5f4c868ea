package demo

import (
	"fmt"
	"io"
	"net"
)

// Print says what is served and how each part can be seen at work.
func (d *Demo) Print(w io.Writer, port int, admin net.Addr) {
	at := fmt.Sprintf("http://127.0.0.1:%d", port)
	fmt.Fprintf(w, `
weir serves its demo on %s, admin on http://%s; Ctrl-C drains and stops.

  /*        needs a JWT, is limited by address and by subject, passes the Wasm filter, has a circuit breaker before the upstream
  /limited  5 requests a minute from one address
  /events   Server-Sent Events        /socket   WebSocket echo

A request that is let through, tagged by the Wasm filter on the way in and out (200):
  curl -si %s/hello -H "Authorization: Bearer %s"
Without the token (401):
  curl -si %s/hello
More than the limit (five times 200, then 429):
  for i in 1 2 3 4 5 6; do curl -s -o /dev/null -w '%%{http_code}\n' %s/limited; done
A live stream:
  curl -sN %s/events

`, at, admin, at, d.Token, at, at, at)
}
