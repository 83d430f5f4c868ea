package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/weirproxy/weir/cmd/weir/demo"
	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/node"
)

type runCommand struct {
	Config string `short:"c" placeholder:"FILE" help:"Configuration file; without it a demo is served."`
}

func (c *runCommand) Run(out io.Writer) error {
	// Before all else: as long as nobody takes them these signals end the process.
	reload, reopen := notify(1, syscall.SIGHUP), notify(1, syscall.SIGUSR1)
	o := node.Options{Build: buildInfo()}
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
	o.Kinds = kinds.Standard()
	stop := notify(2, syscall.SIGTERM, syscall.SIGINT)
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
	serve(n, reload, reopen, stop)
	return nil
}

func (c *runCommand) load() (*config.Spec, error) { return config.Load(c.Config, os.LookupEnv) }

// badConfig makes an error of the start one that the command line is told about: exit status 2.
func badConfig(err error) error { return &usageError{err} }

// serve obeys signals until the node has stopped. A second SIGTERM or SIGINT ends the process at once, whatever else is
// under way: every kind of signal has a channel of its own, so that none waits behind another or is lost in a storm.
func serve(n *node.Node, reload, reopen, stop <-chan os.Signal) {
	go func() {
		for range reload {
			_ = n.Reload() // it has logged and counted its outcome
		}
	}()
	go func() {
		for range reopen {
			if err := n.ReopenLogs(); err != nil {
				fmt.Fprintln(os.Stderr, "weir: reopen logs:", err)
			}
		}
	}()
	<-stop
	stopped := make(chan struct{})
	go func() {
		n.Drain()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-stop:
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
