package proxyabi

import "github.com/weirproxy/weir/core/exchange"

// body is what a half does with the bytes that pass it. Only the goroutine that pulls them touches it but for data, which the
// shard's mutex guards, too.
type body struct {
	under exchange.Body // what comes
	data  []byte        // what the guest sees: of the chunk under way, or all that is held back
	own   []byte        // backs data that is held back or was changed
	out   []byte        // may go on
	told  bool          // the guest knows that the body has ended
	err   error         // sticky: how it ended
	wake  chan struct{} // room for one; ends a parked half's sleep
}
