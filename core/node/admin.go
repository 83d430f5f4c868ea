package node

import (
	"net"

	"github.com/weirproxy/weir/core/admin"
	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/plan"
	"github.com/weirproxy/weir/core/socket"
)

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

// adminChange is the admin listener of a configuration that is not served yet.
type adminChange struct {
	server *admin.Server // nil: there will be none
	token  string
	opened bool // server is new
}

// adminFor opens the admin listener that a wants, or finds that it is the one there is.
func (n *Node) adminFor(a *config.Admin) (*adminChange, error) {
	if a == nil {
		return &adminChange{}, nil
	}
	token, err := adminToken(a)
	if err != nil {
		return nil, err
	}
	now := n.admin.Load()
	if now != nil && n.spec.Admin != nil && n.spec.Admin.Address == a.Address {
		return &adminChange{server: now, token: token}, nil
	}
	ln, err := n.sockets.Listen(string(a.Address.Network), a.Address.Text)
	if err != nil {
		return nil, a.Pos.Errorf("listen on %s: %v", a.Address, socket.Reason(err))
	}
	s := admin.Serve(ln, admin.Options{
		Token: token, Metrics: n.shared.Metrics, Health: n.shared.Health, Plan: func() *plan.Plan { return n.server.Plan() }, Reload: n.Reload,
		Filters: n.o.Filters,
	})
	return &adminChange{server: s, token: token, opened: true}, nil
}

// changeAdmin makes c the admin listener. The old one ends behind the caller's back: it may be the caller's own.
func (n *Node) changeAdmin(c *adminChange) {
	old := n.admin.Swap(c.server)
	c.opened = false
	if c.server != nil {
		c.server.SetToken(c.token)
	}
	if old != nil && old != c.server {
		n.leaving.Go(func() { _ = old.Close() })
	}
}

// drop closes what the change has opened, if it never came to it.
func (c *adminChange) drop() {
	if c.opened {
		_ = c.server.Close()
	}
}

// AdminAddr is where the admin side listens; nil without one.
func (n *Node) AdminAddr() net.Addr {
	if a := n.admin.Load(); a != nil {
		return a.Addr()
	}
	return nil
}
