package limit

import (
	_ "github.com/goccy/go-yaml/ast"
	_ "github.com/weirproxy/weir/core/route"
	_ "github.com/weirproxy/weir/filters"
)
