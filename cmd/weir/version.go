package main

import (
	"fmt"
	"io"
	"runtime"
)

type versionCommand struct{}

func (versionCommand) Run(out io.Writer) error {
	b := buildInfo()
	_, err := fmt.Fprintf(out, "weir %s (%s, %s, %s/%s)\n", b.Version, b.Revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
