// Package wasm breaks the rule: only a folder of its own may.
package wasm

import _ "oras.land/oras-go/v2"
