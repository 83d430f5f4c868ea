module github.com/weirproxy/weir/examples/03-ask-filter

go 1.26
