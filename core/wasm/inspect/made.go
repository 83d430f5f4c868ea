package inspect

import (
	"bytes"
	"strings"

	"github.com/weirproxy/weir/core/wasm/abi"
)

// Made is what a module was made with, as far as can be told.
type Made struct {
	Language string   `json:"language,omitempty"`
	Tools    []string `json:"tools,omitempty"`  // with their versions, from the section producers
	Guess    string   `json:"reason,omitempty"` // how the language was guessed; empty: the module says so itself
}

// made reads the section producers, and guesses where that is not there: compilers leave marks.
func made(o *abi.Outline, code []byte) (m Made) {
	var languages []string
	for _, t := range o.Producers {
		switch t.Field {
		case "language":
			languages = append(languages, t.Name)
		case "processed-by", "sdk":
			version, _, _ := strings.Cut(t.Version, " (") // of which commit
			m.Tools = append(m.Tools, strings.TrimSpace(t.Name+" "+version))
		}
	}
	text := strings.Join(m.Tools, " ")
	for _, c := range compilers {
		if c.tool != "" && strings.Contains(text, c.tool) {
			m.Language = c.language
			return m
		}
	}
	if len(languages) > 0 {
		m.Language = strings.Join(languages, ", ")
		return m
	}
	for _, c := range compilers {
		if why := c.look(o, code); why != "" {
			m.Language, m.Guess = c.language, why
			return m
		}
	}
	return m
}

// compilers in the order in which they are looked for: the more telling ones first.
var compilers = []struct {
	language, tool string
	look           func(o *abi.Outline, code []byte) string
}{
	{"TinyGo", "TinyGo", func(o *abi.Outline, code []byte) string {
		switch {
		case exports(o, "tinygo_"):
			return "it exports " + prefixed(o, "tinygo_")
		case bytes.Contains(code, []byte("tinygo")):
			return "its data names TinyGo"
		case exports(o, "asyncify_") && o.Export("malloc") != nil:
			return "it exports asyncify_… and malloc"
		}
		return ""
	}},
	{"Go", "Go cmd/compile", func(o *abi.Outline, code []byte) string {
		switch {
		case o.Custom("go:buildid") || o.Custom("go.buildid"):
			return "it has a Go build ID"
		case bytes.Contains(code, []byte("runtime.gopanic")) || bytes.Contains(code, []byte("goroutine stack exceeds")):
			return "its data names parts of Go's runtime"
		}
		return ""
	}},
	{"AssemblyScript", "asc", func(o *abi.Outline, code []byte) string {
		switch {
		case o.Export("__new") != nil && o.Export("__pin") != nil:
			return "it exports __new and __pin"
		case bytes.Contains(code, []byte("~\x00l\x00i\x00b\x00/\x00")):
			return "its data names ~lib/"
		case imported(o, "env", "abort"):
			return "it imports env.abort"
		}
		return ""
	}},
	{"Rust", "rustc", func(o *abi.Outline, code []byte) string {
		switch {
		case bytes.Contains(code, []byte("/rustc/")), bytes.Contains(code, []byte("library/core/src/")), bytes.Contains(code, []byte("/.cargo/registry/")):
			return "its data holds paths of Rust's library"
		}
		return ""
	}},
	{"C++ (emscripten)", "emscripten", func(o *abi.Outline, code []byte) string {
		switch {
		case imported(o, "env", "emscripten_notify_memory_growth"):
			return "it imports env.emscripten_notify_memory_growth"
		case exports(o, "_emscripten_") || exports(o, "emscripten_"):
			return "it exports " + prefixed(o, "emscripten_")
		}
		return ""
	}},
	{"C or C++", "clang", func(o *abi.Outline, code []byte) string {
		switch {
		case bytes.Contains(code, []byte("St9exception")) || bytes.Contains(code, []byte("NSt3__2")):
			return "its data holds names of C++'s library"
		case o.Export("__wasm_call_ctors") != nil:
			return "it exports __wasm_call_ctors"
		}
		return ""
	}},
	{"Zig", "zig", func(*abi.Outline, []byte) string { return "" }},
}

func exports(o *abi.Outline, prefix string) bool { return prefixed(o, prefix) != "" }

func prefixed(o *abi.Outline, prefix string) string {
	for i := range o.Exports {
		if strings.HasPrefix(strings.TrimPrefix(o.Exports[i].Name, "_"), strings.TrimPrefix(prefix, "_")) {
			return o.Exports[i].Name
		}
	}
	return ""
}

func imported(o *abi.Outline, module, name string) bool {
	for i := range o.Imports {
		if o.Imports[i].Module == module && o.Imports[i].Name == name {
			return true
		}
	}
	return false
}
