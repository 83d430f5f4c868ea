package upstream

import (
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wire"
)

// leg is one try's way to its endpoint in the protocol that is spoken there: *conn is a connection of HTTP/1.1, *stream a
// stream of HTTP/2. A Call gets it from [Endpoint.acquire] and gives it back by end; what differs by protocol is behind it.
//
// One goroutine calls the methods that send (sendHead, room, sendData, sendEnd, sent), at the same time one reads.
type leg interface {
	exchange.Link // what Cancel ends

	// sendHead begins the request: host is what Host or :authority will say, the body is as long as r says. Nothing need
	// leave yet.
	sendHead(r *exchange.Request, host []byte) error
	// room is where body bytes can be read to that sendData then need not copy; what fits goes out together with the head.
	room() []byte
	// sendData sends body bytes, framed. flush sends what has been held back too: the upstream must see it now.
	sendData(p []byte, flush bool) error
	// sendEnd ends the request, with the trailer fields if the body's length was not said. Everything has been written then.
	sendEnd(trailer *exchange.Header) error
	// sent is called once, after all of that or the first error. An endpoint owes its answer from then on, also one that
	// takes no more; a request that can't be completed by our side's doing is broken off, never ended as if whole.
	sent(err error)

	// readHead reads the head of the answer into x and binds x.Response.Body to what follows; interim answers go to
	// x.Down or nowhere.
	readHead(x *exchange.Exchange, lim *wire.Limits) (progress, error)
	// atHand reports whether bytes of the body came with the head.
	atHand() bool
	// tunnel is the other side of a tunnel after a 101, and what was read of it beyond the head.
	tunnel() (c exchange.Pipe, ahead []byte)

	// reused reports whether the connection has carried requests before: its end may have nothing to do with this one.
	reused() bool
	// unseen reports, after an error and when nothing sends any more, that the endpoint can't have acted on any of the
	// request.
	unseen() bool
	// owing reports whether the whole request has been sent.
	owing() bool
	// end gives the leg up. ok says that the exchange went well: the connection may carry another.
	end(ok bool)
}

// progress is how much of an answer there has been.
type progress uint8

const (
	silent progress = iota // not a byte
	begun
	told // the client has been sent an interim answer
)
