package node

import (
	"errors"
	"time"

	"github.com/weirproxy/weir/core/socket"
)

// HandOver starts c as the process that takes over the node's listeners, the admin side's too, and waits until it serves.
// On an error, and until then, the node serves as before; after it the admin side is the new process's alone, and the caller drains the node. Limits that are counted in memory
// and breakers begin anew in the new process.
func (n *Node) HandOver(c socket.Command, wait time.Duration) (pid int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return 0, errors.New("weir is stopping")
	}
	all := n.server.Bound()
	if a := n.admin.Load(); a != nil {
		at := n.spec.Admin.Address
		all = append(all, socket.Bound{Network: string(at.Network), Target: at.Text, Listener: a.Listener()})
	}
	n.shared.Log.Info().Str("program", c.Path).Msg("handing over to a new process")
	if pid, err = n.sockets.HandOver(c, all, wait); err != nil {
		n.shared.Log.Error().Err(err).Msg("hand-over failed; this process goes on")
		return 0, err
	}
	n.server.HandedOver()
	n.changeAdmin(&adminChange{}) // who asks for the node's health means the new process: this one is not ready any more
	n.shared.Log.Info().Int("pid", pid).Msg("handed over; draining")
	return pid, nil
}
