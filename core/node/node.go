// Package node is one running weir: the state that outlives configurations, the server, the admin listener, and the change
// from one configuration to the next.
package node

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
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
	health *observe.Health
	server *server.Server
	admin  *admin.Server
	log    zerolog.Logger
	stderr *observe.Writer
	lease  *observe.Lease

	mu     sync.Mutex // one reload, drain or close at a time
	access *accessLog
	spec   *config.Spec
	closed bool
}

// accessLog is an access log and where it goes.
type accessLog struct {
	output string
	log    *observe.AccessLog
	lease  *observe.Lease
}

// flushTime is how long closing a log may take.
const flushTime = 2 * time.Second

// Start loads the configuration, builds everything and serves. An error that is about the configuration is a
// *config.Problems; a node that could not start has let go of all it had.
func Start(o Options) (_ *Node, err error) {
	n := &Node{o: o, health: &observe.Health{}}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	spec, err := o.Load()
	if err != nil {
		return nil, err
	}
	if err := n.open(spec); err != nil {
		return nil, err
	}
	p, access, err := n.build(spec)
	if err != nil {
		return nil, err
	}
	n.access = access
	n.server = server.New(p, n.log)
	if err := n.server.Listen(); err != nil {
		return nil, err
	}
	if a := spec.Admin; a != nil {
		if n.admin, err = n.openAdmin(a); err != nil {
			n.server.Drain(0)
			return nil, a.Pos.Errorf("listen on %s: %v", a.Address, err)
		}
	}
	n.spec = spec
	n.gauges()
	n.shared.Metrics.Reload(nil)
	return n, nil
}

// open makes what outlives every plan.
func (n *Node) open(spec *config.Spec) (err error) {
	setLevel(spec.Log.Level)
	if n.stderr, err = observe.OpenWriter(observe.WriterOptions{Output: "stderr", To: n.o.Log, Ordered: true}); err != nil {
		return err
	}
	n.log = observe.NewLog(zerolog.DebugLevel, n.stderr)
	tokens, err := identity.NewCache(identity.CacheOptions{})
	if err != nil {
		return err
	}
	n.shared = &plan.Shared{
		Log: n.log, Upstreams: upstream.NewRegistry(), Tokens: tokens, Counters: limit.NewStore(limit.Options{}),
		Metrics: observe.NewMetrics(n.o.Build),
	}
	n.lease = n.shared.Metrics.Lease()
	n.lease.Log("process", n.stderr)
	return nil
}

func setLevel(level string) {
	if l, err := zerolog.ParseLevel(level); err == nil {
		zerolog.SetGlobalLevel(l)
	}
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
			return nil, nil, fmt.Errorf("open access log %s: %w", spec.AccessLog.Output, err)
		}
	}
	p.AccessLog = access.log
	return p, access, nil
}

func (n *Node) openAccessLog(output string) (*accessLog, error) {
	o := observe.AccessLogOptions{WriterOptions: observe.WriterOptions{Output: output}}
	if output == config.AccessLogStdout {
		o.To = n.o.Stdout
	}
	log, err := observe.OpenAccessLog(o)
	if err != nil {
		return nil, err
	}
	a := &accessLog{output: output, log: log, lease: n.shared.Metrics.Lease()}
	a.lease.Log("access", log.Writer())
	return a, nil
}

func (a *accessLog) close() {
	_ = a.log.Close(flushTime)
	a.lease.Close()
}

func (n *Node) openAdmin(a *config.Admin) (*admin.Server, error) {
	var token []byte
	if !a.Token.IsZero() {
		var err error
		if token, err = a.Token.Read(); err != nil {
			return nil, err
		}
	}
	return admin.Listen(string(a.Address.Network), a.Address.Text, admin.Options{
		Token: string(token), Metrics: n.shared.Metrics, Health: n.health, Plan: n.server.Plan, Reload: n.Reload,
	})
}

func (n *Node) gauges() {
	n.lease.Connections("all", "open", func() float64 { open, _ := n.server.Connections(); return float64(open) })
	n.lease.Connections("all", "refused", func() float64 { _, refused := n.server.Connections(); return float64(refused) })
	n.health.Register("listeners", func() (bool, string) { return true, "" })
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
		n.log.Error().Msg("reload refused; the old configuration goes on: " + err.Error())
		return err
	}
	n.log.Info().Int("routes", len(n.spec.Routes)).Msg("reloaded")
	return nil
}

func (n *Node) reload() error {
	spec, err := n.o.Load()
	if err != nil {
		return err
	}
	if err := n.sameAdmin(spec); err != nil {
		return err
	}
	p, access, err := n.build(spec)
	if err != nil {
		return err
	}
	old := n.server.Plan()
	if err := n.server.Swap(p); err != nil {
		p.Retire()
		if access != nil && access != n.access {
			access.close()
		}
		return err
	}
	if gone := n.access; gone != nil && gone != access {
		go func() {
			<-old.Closed() // until then its exchanges write there
			gone.close()
		}()
	}
	n.access, n.spec = access, spec
	setLevel(spec.Log.Level)
	return nil
}

// sameAdmin refuses what a reload does not change: better an error than an admin address that is not where it is thought.
func (n *Node) sameAdmin(spec *config.Spec) error {
	old, now := n.spec.Admin, spec.Admin
	switch {
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
	return n.access.log.Reopen()
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
// reports how many connections were cut. The node is closed afterwards.
func (n *Node) Drain() (cut int) {
	n.health.SetDraining(true)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return 0
	}
	n.closed = true
	n.log.Info().Msg("draining")
	cut = n.server.Drain(n.spec.Timeouts.Drain)
	<-n.server.Plan().Closed()
	n.log.Info().Int("cut", cut).Msg("stopped")
	n.close()
	return cut
}

func (n *Node) close() {
	if n.admin != nil {
		_ = n.admin.Close()
	}
	if n.shared != nil {
		n.shared.Upstreams.Close()
	}
	if n.access != nil {
		n.access.close()
	}
	if n.lease != nil {
		n.lease.Close()
	}
	if n.stderr != nil {
		_ = n.stderr.Close(flushTime)
	}
}
