module github.com/weirproxy/weir/wasm-sdk/go

go 1.24
