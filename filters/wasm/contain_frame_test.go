package wasm_test

import "testing"

func namesAndValues(t *testing.T) {}
func framing(t *testing.T)        {}
func memoryOfOthers(t *testing.T) {}
func answers(t *testing.T)        {}
