package abi

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weirproxy/weir/core/wasm"
)

// Refusal makes one line of why a filter cannot be loaded: the engine appends the guest's stack. Where a bound was met it names
// the key that sets it.
func Refusal(err error, start time.Duration, memory uint64) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	switch {
	case errors.Is(err, wasm.ErrBudget):
		return fmt.Errorf("%s: start gives it %v", text, start)
	case errors.Is(err, wasm.ErrMemory):
		return fmt.Errorf("%s: memory gives it %d KiB", text, memory>>10)
	}
	return errors.New(text)
}
