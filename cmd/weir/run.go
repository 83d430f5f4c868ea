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
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
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
	serve(n, signals)
	return nil
}

func (c *runCommand) load() (*config.Spec, error) { return config.Load(c.Config, os.LookupEnv) }

// badConfig makes an error of the start one that the command line is told about: exit status 2.
func badConfig(err error) error { return &usageError{err} }

// serve obeys signals until the node has stopped. A second SIGTERM or SIGINT ends the process at once.
func serve(n *node.Node, signals chan os.Signal) {
	stopped := make(chan struct{})
	stopping := false
	reload := make(chan struct{}, 1) // one runs, one may wait: a storm of signals is one reload
	go func() {
		for range reload {
			_ = n.Reload() // it has logged and counted its outcome
		}
	}()
	for {
		select {
		case <-stopped:
			return
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				select {
				case reload <- struct{}{}:
				default:
				}
			case syscall.SIGUSR1:
				if err := n.ReopenLogs(); err != nil {
					fmt.Fprintln(os.Stderr, "weir: reopen logs:", err)
				}
			default:
				if stopping {
					os.Exit(1)
				}
				stopping = true
				go func() {
					n.Drain()
					close(stopped)
				}()
			}
		}
	}
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
