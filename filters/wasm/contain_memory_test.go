package wasm_test

import (
	"testing"
)

func memoryOfOthers(t *testing.T) {}
func answers(t *testing.T)        {}
