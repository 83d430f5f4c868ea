package main

import (
	"fmt"
	"io"
	"runtime"
)

type versionCommand struct{}

func (versionCommand) Run(out io.Writer) error {
	_, err := fmt.Fprintln(out, versionLine())
	return err
}

// versionLine is what weir version and weir --version print.
func versionLine() string {
	b := buildInfo()
	return fmt.Sprintf("weir %s (%s, %s, %s/%s)", b.Version, b.Revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
