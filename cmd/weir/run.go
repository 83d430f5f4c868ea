package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/weirproxy/weir/cmd/weir/demo"
	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/node"
	"github.com/weirproxy/weir/core/socket"
)

type runCommand struct {
	Config string `short:"c" placeholder:"FILE" help:"Configuration file; without it a demo is served."`
}

func (c *runCommand) Run(out io.Writer) error {
	// Before all else: as long as nobody takes them these signals end the process.
	signals := signals{reload: notify(1, syscall.SIGHUP), reopen: notify(1, syscall.SIGUSR1), replace: notify(1, syscall.SIGUSR2)}
	self := command() // before the environment and the file change
	limitMemory()
	sockets, err := socket.Inherit()
	if err != nil {
		return err
	}
	o := node.Options{Build: buildInfo(), Sockets: sockets}
	var shown *demo.Demo
	var open func(string) ([]byte, error)
	if c.Config != "" {
		o.Load = c.load
	} else {
		d, err := demo.Start()
		if err != nil {
			return err
		}
		defer d.Close()
		o.Load, shown, open = d.Load, d, demo.Open
	}
	spec, err := o.Load()
	if err != nil {
		return badConfig(err)
	}
	kinds, err := openKinds(spec, open)
	if err != nil {
		return err
	}
	defer kinds.Close()
	o.Kinds, o.Filters, o.Figures = kinds.Standard(), kinds.Wasm.Filters, kinds.Wasm.AppendMetrics
	signals.stop = notify(2, syscall.SIGTERM, syscall.SIGINT)
	n, err := node.Start(o)
	if err != nil && shown != nil && strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		err = fmt.Errorf("%w; WEIR_DEMO_ADDRESS and WEIR_DEMO_ADMIN give the demo other addresses", err)
	}
	if err != nil {
		return badConfig(err)
	}
	for i := range spec.Warnings {
		fmt.Fprintln(os.Stderr, "warning:", spec.Warnings[i].Error())
	}
	if shown != nil {
		shown.Print(out, port(n.Addresses()), n.AdminAddr())
	}
	tellManager(daemon.SdNotifyReady)
	signals.serve(n, self)
	return nil
}

func (c *runCommand) load() (*config.Spec, error) { return config.Load(c.Config, os.LookupEnv) }

// badConfig makes an error of the start one that the command line is told about: exit status 2.
func badConfig(err error) error { return &usageError{err} }

// signals are what the process obeys, each kind by a channel of its own, so that none waits behind another or is lost in a
// storm.
type signals struct{ reload, reopen, replace, stop <-chan os.Signal }

// handOverTime is how long a new process may take until it serves.
const handOverTime = 30 * time.Second

// serve obeys signals until the node has stopped. A second SIGTERM or SIGINT ends the process at once, whatever else is
// under way.
func (s *signals) serve(n *node.Node, self socket.Command) {
	go func() {
		for range s.reload {
			tellManager(reloading())
			_ = n.Reload() // it has logged and counted its outcome
			tellManager(daemon.SdNotifyReady)
		}
	}()
	go func() {
		for range s.reopen {
			if err := n.ReopenLogs(); err != nil {
				fmt.Fprintln(os.Stderr, "weir: reopen logs:", err)
			}
		}
	}()
	replaced := make(chan struct{})
	go func() {
		for range s.replace {
			if pid, err := n.HandOver(self, handOverTime); err == nil { // an error has been logged, and this process goes on
				tellManager("MAINPID=" + strconv.Itoa(pid))
				close(replaced)
				return
			}
		}
	}()
	select {
	case <-s.stop:
		tellManager(daemon.SdNotifyStopping)
	case <-replaced:
	}
	stopped := make(chan struct{})
	go func() {
		n.Drain()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-s.stop:
		os.Exit(1)
	}
}

// notify takes signals from now on. Of those that come while room of them wait nothing is lost: one more would do the same.
func notify(room int, signals ...os.Signal) <-chan os.Signal {
	c := make(chan os.Signal, room)
	signal.Notify(c, signals...)
	return c
}

// port gives the port of the one listener that the demo has.
func port(all map[string]net.Addr) int {
	for _, a := range all {
		if t, ok := a.(*net.TCPAddr); ok {
			return t.Port
		}
	}
	return 0
}
