// Guest built with the stock toolchain for tests of the rewriter and of the engine.
package main

import (
	"encoding/json"
	"sort"
	"strings"
)

func main() {}

//go:wasmexport work
func work(n int32) int64 {
	words := make([]string, 0, n)
	for i := int32(0); i < n; i++ {
		words = append(words, strings.Repeat(string(rune('a'+i%26)), int(i%7)+1))
	}
	sort.Strings(words)
	b, _ := json.Marshal(map[string]any{"words": words, "n": n})
	var back map[string]any
	if err := json.Unmarshal(b, &back); err != nil {
		return -1
	}
	var sum int64
	for i, c := range b {
		sum = sum*31 + int64(c)*int64(i+1)
	}
	return sum + int64(len(back))
}

//go:wasmexport recurse
func recurse(n int32) int32 {
	var v any = 1
	for i := int32(0); i < n; i++ {
		v = []any{v}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return -1
	}
	return int32(len(b))
}

//go:wasmexport noop
func noop() {}

//go:wasmexport spin
func spin() {
	for x := 1; ; x++ {
		sink = x
	}
}

var sink int
