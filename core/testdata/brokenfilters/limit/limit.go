package limit

import (
	_ "github.com/weirproxy/weir/core/exchange"
	_ "github.com/weirproxy/weir/core/limit"
)
