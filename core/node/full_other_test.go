//go:build !linux

package node_test

import (
	"errors"
	"testing"
)

func fullListener(t *testing.T) string {
	t.Skip("a full queue is Linux' way to hang")
	return ""
}

func fewFiles(uint64) error { return errors.New("not tested here") }
