// Package node is one running weir: the state that outlives configurations, the server, the admin listener, and the change
// from one configuration to the next.
package node

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/admin"
	"github.com/weirproxy/weir/core/certs"
	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/identity"
	"github.com/weirproxy/weir/core/limit"
	"github.com/weirproxy/weir/core/observe"
	"github.com/weirproxy/weir/core/plan"
	"github.com/weirproxy/weir/core/server"
	"github.com/weirproxy/weir/core/socket"
	"github.com/weirproxy/weir/core/upstream"
)

// Options say what a node runs.
type Options struct {
	// Load reads the configuration, at the start and at each reload.
	Load func() (*config.Spec, error)
	// Kinds are the filters that routes may carry.
	Kinds []filter.Kind
	// Filters lists those that are loaded, for the admin side; nil: there is nothing to list.
	Filters func() []filter.Status
	// Figures appends metrics that filters count, as whole families of Prometheus text; nil: there are none.
	Figures func(dst []byte) []byte
	Build   observe.Build
	// Sockets are those that the process was given; nil is none.
	Sockets *socket.Set
	// Log is where the process log goes; nil is stderr. Stdout takes what is configured for stdout; nil is stdout.
	Log, Stdout io.Writer
}

// Node is a running weir. All methods may be called concurrently.
type Node struct {
	o       Options
	shared  *plan.Shared
	sockets *socket.Set
	server  *server.Server
	admin   atomic.Pointer[admin.Server] // nil: none
	level   level
	stderr  *observe.Writer
	lease   *observe.Lease

	serving   atomic.Bool    // listeners are bound
	upstreams atomic.Bool    // all have been ready
	leaving   sync.WaitGroup // admin listeners that are being closed

	mu     sync.Mutex // one reload, drain or close at a time
	access *accessLog
	spec   *config.Spec
	closed bool
}

// flushTime is how long closing a log may take.
const flushTime = 2 * time.Second

// Start loads the configuration, builds everything and serves. An error that is about the configuration is a
// *config.Problems; a node that could not start has let go of all it had.
func Start(o Options) (_ *Node, err error) {
	spec, err := o.Load()
	if err != nil {
		return nil, err
	}
	n := &Node{o: o, spec: spec, sockets: o.Sockets}
	if n.sockets == nil {
		n.sockets = &socket.Set{}
	}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	n.level.set(spec.Log.Level)
	if n.stderr, err = observe.OpenWriter(observe.WriterOptions{Output: "stderr", To: o.Log, Ordered: true}); err != nil {
		return nil, err
	}
	if n.shared, err = newShared(o.Build, observe.NewLog(zerolog.DebugLevel, n.stderr).Hook(&n.level), false); err != nil {
		return nil, err
	}
	if o.Figures != nil {
		n.shared.Metrics.Also(o.Figures)
	}
	p, access, err := n.build(spec)
	if err != nil {
		return nil, err
	}
	n.access, n.server = access, server.New(p, n.sockets, n.shared.Log)
	n.gauges()
	if err := n.listen(spec); err != nil {
		n.server.Drain(0)
		return nil, err
	}
	p.Begin()
	n.shared.Metrics.Reload(nil)
	n.tell("serving")
	return n, nil
}

// tell says where the node can be reached, which a reload can change: addresses as they were bound, the port of :0 included.
func (n *Node) tell(what string) {
	var all []string
	for _, a := range n.Addresses() {
		all = append(all, a.String())
	}
	slices.Sort(all)
	e := n.shared.Log.Info().Strs("listeners", all)
	if a := n.AdminAddr(); a != nil {
		e = e.Stringer("admin", a)
	}
	if v := n.o.Build.Version; v != "" {
		e = e.Str("version", v)
	}
	e.Int("routes", len(n.spec.Routes)).Msg(what)
}

// newShared makes what outlives every plan. Offline it asks for no names and endpoints.
func newShared(b observe.Build, log zerolog.Logger, offline bool) (*plan.Shared, error) {
	tokens, err := identity.NewCache(identity.CacheOptions{})
	if err != nil {
		return nil, err
	}
	metrics := observe.NewMetrics(b)
	endpoints := upstream.NewRegistry(upstream.RegistryOptions{
		Breaker: tellBreaker(log), Event: tellEndpoint(log), Meters: plan.EndpointMeters(metrics), Offline: offline,
	})
	return &plan.Shared{
		Log: log, Upstreams: endpoints, Tokens: tokens, Counters: limit.NewStore(limit.Options{}),
		Metrics: metrics, Health: &observe.Health{}, Certs: certs.NewRegistry(certs.Options{Log: log, Metrics: metrics.Registry()}),
	}, nil
}

// Check builds everything that spec asks for, without listening anywhere, and lets go of it again. The error is a
// *config.Problems with all that is wrong.
func Check(spec *config.Spec, kinds []filter.Kind) error {
	shared, err := newShared(observe.Build{}, zerolog.Nop(), true)
	if err != nil {
		return err
	}
	defer shared.Upstreams.Close()
	defer shared.Certs.Close()
	var problems config.Problems
	_, err = adminToken(spec.Admin)
	problems.Add(err)
	p, err := plan.Build(spec, shared, kinds)
	problems.Add(err)
	if err == nil {
		p.Retire()
		shared.Plans.Wait()
	}
	checkFiles(spec, &problems)
	return problems.Err()
}

// build makes the plan of spec, with its access log: the one there is if it goes to the same place.
func (n *Node) build(spec *config.Spec) (*plan.Plan, *accessLog, error) {
	p, err := plan.Build(spec, n.shared, n.o.Kinds)
	if err != nil || spec.AccessLog.Output == config.AccessLogOff {
		return p, nil, err
	}
	access := n.access
	if access == nil || access.output != spec.AccessLog.Output {
		if access, err = n.openAccessLog(spec.AccessLog.Output); err != nil {
			p.Retire()
			return nil, nil, spec.AccessLog.Pos.Errorf("%s", err)
		}
	}
	access.Hold()
	p.AccessLog = access.AccessLog
	return p, access, nil
}

// listen opens the admin side first: once clients are served nothing may fail.
func (n *Node) listen(spec *config.Spec) error {
	change, err := n.adminFor(spec.Admin)
	if err != nil {
		return err
	}
	n.changeAdmin(change)
	if err := n.server.Listen(); err != nil {
		return err
	}
	n.serving.Store(true)
	return n.sockets.Ready()
}

func (n *Node) gauges() {
	n.lease = n.shared.Metrics.Lease()
	n.lease.Log("process", n.stderr)
	of := func(state string, count func(server.Counts) int64) {
		n.lease.Connections("all", state, func() float64 { return float64(count(n.server.Counts())) })
	}
	of("open", func(c server.Counts) int64 { return c.Open })
	of("tunnel", func(c server.Counts) int64 { return c.Tunnels })
	of("refused", func(c server.Counts) int64 { return c.Refused })
	of("refused_per_ip", func(c server.Counts) int64 { return c.RefusedAddress })
	of("refused_memory", func(c server.Counts) int64 { return c.Shed })
	of("handshake_failed", func(c server.Counts) int64 { return c.Handshakes })
	n.shared.Health.Register("memory", func() (bool, string) { return !n.server.Counts().Scarce, "" })
	n.shared.Health.Register("listeners", func() (bool, string) { return n.serving.Load(), "" })
	n.shared.Health.Register("upstreams", n.upstreamsReady)
}

// Reload reads the configuration again and serves it. On an error nothing has changed. Exchanges under way end on the
// configuration that they began with.
func (n *Node) Reload() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errors.New("reload: weir is stopping")
	}
	err := n.reload()
	n.shared.Metrics.Reload(err)
	if err != nil {
		n.shared.Log.Error().Msg("reload refused; the old configuration goes on: " + err.Error())
		return err
	}
	for i := range n.spec.Warnings {
		n.shared.Log.Warn().Msg(n.spec.Warnings[i].Error())
	}
	n.tell("reloaded")
	return nil
}

func (n *Node) reload() error {
	spec, err := n.o.Load()
	if err != nil {
		return err
	}
	if n.spec.StateDir != spec.StateDir { // better an error than a folder that is not where it is thought
		return fmt.Errorf("%s: state_dir: another folder needs a restart", spec.File)
	}
	change, err := n.adminFor(spec.Admin)
	if err != nil {
		return err
	}
	defer change.drop()
	p, access, err := n.build(spec)
	if err != nil {
		return err
	}
	opened := access != nil && access != n.access
	if err := n.server.Swap(p); err != nil {
		p.Retire()
		if opened {
			access.Drop()
		}
		return err
	}
	p.Begin()
	if n.access != nil && n.access != access {
		n.access.Drop() // it closes with the last plan, or stream, that still writes there
	}
	n.access, n.spec = access, spec
	n.level.set(spec.Log.Level)
	n.changeAdmin(change)
	return nil
}

// upstreamsReady reports whether every upstream has had an endpoint to send to. Once all had one, it stays true: neither a
// failing upstream nor one that a reload has added is a reason to take the whole node out of service.
func (n *Node) upstreamsReady() (ok bool, detail string) {
	if n.upstreams.Load() {
		return true, ""
	}
	var wait []string
	for _, u := range n.server.Plan().Upstreams {
		if !u.Ready() {
			wait = append(wait, u.Name)
		}
	}
	if len(wait) > 0 {
		return false, "no usable endpoint as yet: " + strings.Join(wait, ", ")
	}
	n.upstreams.Store(true)
	return true, ""
}

// tellEndpoint logs what happens to endpoints.
func tellEndpoint(log zerolog.Logger) func(upstream.Event) {
	return func(v upstream.Event) {
		e := log.Info()
		if v.Bad {
			e = log.Warn()
		}
		e = e.Str("upstream", v.Upstream)
		if v.Endpoint != "" {
			e = e.Str("endpoint", v.Endpoint)
		}
		e.AnErr("reason", v.Err).Msg(v.Text)
	}
}

// tellBreaker logs what breakers do: it is the first thing to know in an incident.
func tellBreaker(log zerolog.Logger) func(upstream, endpoint string, s upstream.BreakerState) {
	return func(name, endpoint string, s upstream.BreakerState) {
		e := log.Info()
		if s == upstream.BreakerOpen {
			e = log.Warn()
		}
		e.Str("upstream", name).Str("endpoint", endpoint).Str("state", s.String()).Msg("circuit breaker")
	}
}

// ReopenLogs opens log files anew, for whoever has moved them away.
func (n *Node) ReopenLogs() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.access == nil {
		return nil
	}
	return n.access.Reopen()
}

// Addresses gives where the node listens, by the addresses of the configuration.
func (n *Node) Addresses() map[string]net.Addr { return n.server.Addresses() }

// Metrics gives the node's metrics in Prometheus' text format.
func (n *Node) Metrics() []byte { return n.shared.Metrics.AppendText(nil) }

// Plan is the plan of the moment.
func (n *Node) Plan() *plan.Plan { return n.server.Plan() }

// Drain stops the node: readiness off, nothing accepted any more, what is under way may end within the configured time. It
// reports how many connections were cut. The node is closed afterwards; a second Drain waits for that and does nothing.
func (n *Node) Drain() (cut int) {
	n.shared.Health.SetDraining(true)
	n.sockets.Stop()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return 0
	}
	n.closed = true
	c := n.server.Counts()
	n.shared.Log.Info().Int64("connections", c.Open).Int64("tunnels", c.Tunnels).Msg("draining")
	cut = n.server.Drain(n.spec.Timeouts.Drain)
	n.shared.Log.Info().Int("cut", cut).Msg("stopped")
	n.close()
	return cut
}

// close lets go of what there is, in the reverse order of Start. No connection is left and no plan is in use.
func (n *Node) close() {
	n.changeAdmin(&adminChange{})
	n.leaving.Wait()
	if n.shared != nil {
		n.shared.Plans.Wait()
		n.shared.Upstreams.Close()
		n.shared.Certs.Close()
	}
	if n.access != nil {
		n.access.Drop()
	}
	if n.lease != nil {
		n.lease.Close()
	}
	if n.stderr != nil {
		_ = n.stderr.Close(flushTime)
	}
}
