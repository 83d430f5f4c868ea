package wasm

import (
	"errors"
	"fmt"
	"strings"
)

// What may end a guest call. Every one of them leaves the instance unusable; it must be discarded. They are wrapped in
// a *Trap: ask with errors.Is.
var (
	// ErrBudget: the call's CPU budget is spent.
	ErrBudget = errors.New("cpu budget spent")
	// ErrDepth: calls nested too deep.
	ErrDepth = errors.New("calls nested too deep")
	// ErrMemory: the guest gave up after its memory could not grow, or memory for it could not be had.
	ErrMemory = errors.New("out of memory")
)

// Trap is a guest call that did not return. Err is one of the errors above, an Exit, what a host function panicked
// with, or what the engine says. Stack is the guest's own stack, innermost function first, for logs; it may be empty.
type Trap struct {
	Err   error
	Stack string
}

func (t *Trap) Error() string { return "guest trapped: " + t.Err.Error() }

// Unwrap returns t.Err.
func (t *Trap) Unwrap() error { return t.Err }

// Exit is a guest that called proc_exit.
type Exit struct{ Code uint32 }

func (e Exit) Error() string { return fmt.Sprintf("guest exited with code %d", e.Code) }

const stackHeading = "\nwasm stack trace:\n\t"

// newTrap sorts what the engine answered. It is the one place that reads error text: the engine's own errors are not
// exported, and a stack overflow comes as plain text.
func newTrap(err error, m *Memory) *Trap {
	text := err.Error()
	t := &Trap{}
	if head, stack, ok := strings.Cut(text, stackHeading); ok {
		text, t.Stack = strings.TrimSuffix(head, " (recovered by wazero)"), stack
	}
	text = strings.TrimPrefix(text, "wasm error: ")
	var exit Exit
	switch {
	case errors.Is(err, ErrBudget):
		t.Err = ErrBudget
	case errors.Is(err, ErrDepth), text == "stack overflow":
		t.Err = ErrDepth
	case errors.Is(err, ErrMemory):
		t.Err = ErrMemory
	case errors.As(err, &exit):
		t.Err = exit
	case text == "unreachable" && m.refused:
		t.Err = ErrMemory
	default:
		inner := errors.Unwrap(err)
		if inner == nil {
			inner = errors.New(text)
		}
		t.Err = inner
	}
	return t
}
