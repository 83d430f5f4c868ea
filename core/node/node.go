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
	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/identity"
	"github.com/weirproxy/weir/core/limit"
	"github.com/weirproxy/weir/core/observe"
	"github.com/weirproxy/weir/core/plan"
	"github.com/weirproxy/weir/core/server"
	"github.com/weirproxy/weir/core/upstream"
)

// Options say what a node runs.
type Options struct {
	// Load reads the configuration, at the start and at each reload.
	Load func() (*config.Spec, error)
	// Kinds are the filters that routes may carry.
	Kinds []filter.Kind
	Build observe.Build
	// Log is where the process log goes; nil is stderr. Stdout takes what is configured for stdout; nil is stdout.
	Log, Stdout io.Writer
}

// Node is a running weir. All methods may be called concurrently.
type Node struct {
	o      Options
	shared *plan.Shared
	server *server.Server
	admin  *admin.Server
	level  level
	stderr *observe.Writer
	lease  *observe.Lease

	serving   atomic.Bool // listeners are bound
	upstreams atomic.Bool // all have been ready

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
	n := &Node{o: o, spec: spec}
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
	p, access, err := n.build(spec)
	if err != nil {
		return nil, err
	}
	n.access, n.server = access, server.New(p, n.shared.Log)
	n.gauges()
	if err := n.listen(spec); err != nil {
		n.server.Drain(0)
		return nil, err
	}
	n.shared.Metrics.Reload(nil)
	n.logServing()
	return n, nil
}

// logServing says where the node can be reached: addresses as they were bound, the port of :0 included.
func (n *Node) logServing() {
	var all []string
	for _, a := range n.Addresses() {
		all = append(all, a.String())
	}
	slices.Sort(all)
	e := n.shared.Log.Info().Strs("listeners", all)
	if n.admin != nil {
		e = e.Stringer("admin", n.AdminAddr())
	}
	e.Int("routes", len(n.spec.Routes)).Msg("serving")
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
		Metrics: metrics, Health: &observe.Health{},
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
	if _, err := adminToken(spec.Admin); err != nil {
		return err
	}
	p, err := plan.Build(spec, shared, kinds)
	if err != nil {
		return err
	}
	p.Retire()
	shared.Plans.Wait()
	return nil
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
			return nil, nil, fmt.Errorf("%s: access_log.output: %w", spec.File, err)
		}
	}
	access.Hold()
	p.AccessLog = access.AccessLog
	return p, access, nil
}

// listen opens the admin side first: once clients are served nothing may fail.
func (n *Node) listen(spec *config.Spec) error {
	if a := spec.Admin; a != nil {
		token, err := adminToken(a)
		if err != nil {
			return err
		}
		if n.admin, err = n.openAdmin(a, token); err != nil {
			return a.Pos.Errorf("listen on %s: %v", a.Address, server.Reason(err))
		}
	}
	if err := n.server.Listen(); err != nil {
		return err
	}
	n.serving.Store(true)
	return nil
}

// adminToken reads the token of the admin side; "" if there is none. The error has its place.
func adminToken(a *config.Admin) (string, error) {
	if a == nil || a.Token.IsZero() {
		return "", nil
	}
	token, err := a.Token.Read()
	if err != nil {
		return "", a.Token.Pos.Errorf("%v", err)
	}
	return string(token), nil
}

func (n *Node) openAdmin(a *config.Admin, token string) (*admin.Server, error) {
	ln, err := server.Bind(string(a.Address.Network), a.Address.Text)
	if err != nil {
		return nil, err
	}
	return admin.Serve(ln, admin.Options{
		Token: token, Metrics: n.shared.Metrics, Health: n.shared.Health, Plan: n.server.Plan, Reload: n.Reload,
	}), nil
}

func (n *Node) gauges() {
	n.lease = n.shared.Metrics.Lease()
	n.lease.Log("process", n.stderr)
	n.lease.Connections("all", "open", func() float64 { open, _ := n.server.Connections(); return float64(open) })
	n.lease.Connections("all", "refused", func() float64 { _, refused := n.server.Connections(); return float64(refused) })
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
	n.shared.Log.Info().Int("routes", len(n.spec.Routes)).Msg("reloaded")
	return nil
}

func (n *Node) reload() error {
	spec, err := n.o.Load()
	if err != nil {
		return err
	}
	if err := n.needsRestart(spec); err != nil {
		return err
	}
	token, err := adminToken(spec.Admin)
	if err != nil {
		return err
	}
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
	if n.access != nil && n.access != access {
		n.access.Drop() // it closes with the last plan, or stream, that still writes there
	}
	n.access, n.spec = access, spec
	n.level.set(spec.Log.Level)
	if n.admin != nil {
		n.admin.SetToken(token)
	}
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

// needsRestart refuses what a reload does not change: better an error than an address or a folder that is not where it is
// thought.
func (n *Node) needsRestart(spec *config.Spec) error {
	old, now := n.spec.Admin, spec.Admin
	switch {
	case n.spec.StateDir != spec.StateDir:
		return fmt.Errorf("%s: state_dir: another folder needs a restart", spec.File)
	case old == nil && now == nil:
		return nil
	case now == nil:
		return fmt.Errorf("%s: admin: removing the admin listener needs a restart", spec.File)
	case old == nil || old.Address != now.Address:
		return now.Pos.Errorf("another admin address needs a restart")
	}
	return nil
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

// AdminAddr is where the admin side listens; nil without one.
func (n *Node) AdminAddr() net.Addr {
	if n.admin == nil {
		return nil
	}
	return n.admin.Addr()
}

// Metrics gives the node's metrics in Prometheus' text format.
func (n *Node) Metrics() []byte { return n.shared.Metrics.AppendText(nil) }

// Plan is the plan of the moment.
func (n *Node) Plan() *plan.Plan { return n.server.Plan() }

// Drain stops the node: readiness off, nothing accepted any more, what is under way may end within the configured time. It
// reports how many connections were cut. The node is closed afterwards; a second Drain waits for that and does nothing.
func (n *Node) Drain() (cut int) {
	n.shared.Health.SetDraining(true)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return 0
	}
	n.closed = true
	n.shared.Log.Info().Msg("draining")
	cut = n.server.Drain(n.spec.Timeouts.Drain)
	n.shared.Log.Info().Int("cut", cut).Msg("stopped")
	n.close()
	return cut
}

// close lets go of what there is, in the reverse order of Start. No connection is left and no plan is in use.
func (n *Node) close() {
	if n.admin != nil {
		_ = n.admin.Close()
	}
	if n.shared != nil {
		n.shared.Plans.Wait()
		n.shared.Upstreams.Close()
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
