package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/weirproxy/weir/core/socket"
)

// command is how the process was started: what SIGUSR2 starts anew, from the same path, where a newer binary may lie by
// then.
func command() socket.Command {
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		path, _ = os.Executable()
	}
	return socket.Command{Path: path, Args: os.Args, Env: os.Environ()}
}

// limitMemory makes nine tenths of the control group's memory the limit of Go's memory, unless GOMEMLIMIT says otherwise: the
// collector works harder near it, and weir sheds load, where the kernel would kill. Without a control group nothing is set.
func limitMemory() {
	if _, err := memlimit.Set(); err != nil {
		fmt.Fprintln(os.Stderr, "weir: memory limit:", err)
	}
}

// tellManager tells systemd, if it started the process and listens (Type=notify).
func tellManager(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		fmt.Fprintln(os.Stderr, "weir: tell systemd:", err)
	}
}

// reloading is what systemd is told before a reload: with the time, as Type=notify-reload asks for it (sd_notify(3)).
func reloading() string {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return daemon.SdNotifyReloading + "\nMONOTONIC_USEC=" + strconv.FormatInt(now.Nano()/1000, 10)
}
