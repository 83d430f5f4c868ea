package upstream

import (
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/pool"
)

// uploadState is how far a body has come that a goroutine of its own sends, the uploader. It is the one place where two
// goroutines meet in a Call: the owner, who serves the exchange, and the uploader.
//
//	from      to        by        when
//	resting   running   owner     start: the body can't be sent at once
//	running   pulled    uploader  it has all of the body: what is left is to write the last of it
//	running   ended     uploader  the body or the connection failed
//	pulled    ended     uploader  all was written, or the connection failed
//	ended     joined    owner     join: the result has been taken
//	joined    resting   owner     reset, or before another try
//
// While it is running or pulled the body and the sending half of the leg are the uploader's.
type uploadState uint32

const (
	resting uploadState = iota
	running
	pulled
	ended
	joined
)

func (s uploadState) String() string {
	return [...]string{"resting", "running", "pulled", "ended", "joined"}[s]
}

// uploadMay is the table above: the states that may follow, a bit each.
var uploadMay = [...]uint32{
	resting: 1 << running,
	running: 1<<pulled | 1<<ended,
	pulled:  1 << ended,
	ended:   1 << joined,
	joined:  1 << resting,
}

// upload is the state with what goes from one goroutine to the other.
type upload struct {
	state atomic.Uint32
	err   error         // how it ended; written before ended, the owner's once joined
	done  chan struct{} // tells the owner that it has ended; room for one
}

func (u *upload) is() uploadState { return uploadState(u.state.Load()) }

// to changes the state. Both sides know which states they may find: any other is a mistake of ours.
func (u *upload) to(next uploadState) {
	if was := u.is(); uploadMay[was]>>next&1 == 0 {
		panic(fmt.Sprintf("upload: %s after %s", next, was))
	}
	u.state.Store(uint32(next))
}

// under way reports whether the uploader has not ended, for all that the owner knows.
func (u *upload) underWay() bool {
	s := u.is()
	return s == running || s == pulled
}

// start is the owner's, before it makes the uploader.
func (u *upload) start(x *exchange.Exchange) {
	u.to(running)
	x.Uploading.Store(true)
}

// end is the uploader's last step.
func (u *upload) end(x *exchange.Exchange, err error) {
	u.err = err
	u.to(ended)
	x.Uploading.Store(false)
	u.done <- struct{}{}
}

// join waits for the uploader, if there is one, and gives its error.
func (u *upload) join() error {
	switch u.is() {
	case running, pulled, ended:
		<-u.done
		u.to(joined)
	}
	return u.err
}

// settle waits a moment for an uploader at its last write. An upstream may answer, or end, before our own goroutine has
// noticed that it is done; taken for an early answer that would cost both connections, taken for a broken upload a retry.
func (u *upload) settle() {
	if s := u.is(); s != pulled && s != ended {
		return
	}
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	select {
	case <-u.done:
		u.to(joined)
	case <-timer.C:
	}
}

const settleTime = 5 * time.Millisecond

// rest makes u ready for another upload. Nothing is under way.
func (u *upload) rest() {
	if u.is() == joined {
		u.to(resting)
	}
	u.err = nil
}

// send sends the head and, if it is at hand, the whole body in one write; else a goroutine streams the body.
func (k *Call) send() error {
	r := &k.x.Request
	if r.Upgrade && !r.Body.Empty() {
		r.Upgrade = false // a filter gave the handshake a body: without framing it would be read as the next request
	}
	host := k.host
	if host == nil {
		host = k.ep.Host
	}
	if err := k.leg.sendHead(r, host); err != nil {
		k.leg.sent(err)
		return err
	}
	if !r.Body.Empty() && (r.Body.Length < 0 || !r.Body.Whole() || r.Body.Length > int64(len(k.leg.room()))) {
		k.up.start(k.x)
		go k.upload()
		return nil
	}
	err := k.pass()
	k.leg.sent(err)
	return err
}

// errLength keeps a filter's mistake from becoming another request: bytes beyond Content-Length would be read as one.
var errLength = fault.New(fault.Internal, "request body is not as long as its Content-Length")

// pass sends a body that is at hand as a whole and fits behind the head.
func (k *Call) pass() error {
	body := &k.x.Request.Body
	left := max(body.Length, 0)
	for {
		p, err := body.Next(k.leg.room())
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if left -= int64(len(p)); left < 0 {
			return errLength
		}
		k.kept.keep(p, body.Length)
		if err := k.leg.sendData(p, false); err != nil {
			return err
		}
	}
	return k.finish(left)
}

// finish ends the request, of whose body left bytes are missing.
func (k *Call) finish(left int64) error {
	r := &k.x.Request
	if r.Body.Length >= 0 {
		if left > 0 {
			return errLength
		}
		return k.leg.sendEnd(nil)
	}
	for _, name := range k.x.Guarded {
		r.Trailer.DelLike(name)
	}
	return k.leg.sendEnd(&r.Trailer)
}

// upload is the uploader.
func (k *Call) upload() {
	err := k.stream()
	k.leg.sent(err)
	k.up.end(k.x, err)
}

// stream sends the body as it is pulled.
func (k *Call) stream() (err error) {
	defer func() {
		if r := recover(); r != nil { // in a source of the body: nobody else would catch it here
			err = fault.Wrap(fault.Internal, fmt.Errorf("panic while sending a body: %v\n%s", r, debug.Stack()))
		}
	}()
	// The head goes first: the upstream may answer it before the client sends, or is asked for, a byte of the body.
	if err := k.leg.sendData(nil, true); err != nil {
		return err
	}
	body := &k.x.Request.Body
	fixed, left := body.Length >= 0, body.Length
	piece := pool.Acquire(pool.Medium)
	defer pool.Release(piece)
	for {
		p, err := body.Next(piece)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if body.Empty() && k.up.is() == running {
			k.up.to(pulled)
		}
		if len(p) == 0 {
			continue
		}
		if left -= int64(len(p)); fixed && left < 0 {
			return errLength
		}
		k.kept.keep(p, body.Length)
		if err := k.leg.sendData(p, !body.Whole()); err != nil {
			return err
		}
	}
	if k.up.is() == running {
		k.up.to(pulled)
	}
	return k.finish(left)
}
