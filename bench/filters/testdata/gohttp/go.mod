module gohttp

go 1.24

require github.com/weirproxy/weir/wasm-sdk/go v0.0.0

replace github.com/weirproxy/weir/wasm-sdk/go => ../../../../wasm-sdk/go
