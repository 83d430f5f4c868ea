package plan

import (
	"sync"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/certs"
	"github.com/weirproxy/weir/core/identity"
	"github.com/weirproxy/weir/core/limit"
	"github.com/weirproxy/weir/core/observe"
	"github.com/weirproxy/weir/core/upstream"
)

// Shared is what outlives every plan: each part finds its state again by what it means, and drops it when no plan names
// it any more. All fields are set, and safe for concurrent use.
type Shared struct {
	Log       zerolog.Logger
	Upstreams *upstream.Registry
	Tokens    *identity.Cache
	Counters  *limit.Store
	Metrics   *observe.Metrics
	Health    *observe.Health
	Certs     *certs.Registry
	Faults    FaultLog
	Plans     sync.WaitGroup // plans that have been built and are not closed yet
}
