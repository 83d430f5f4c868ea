package cors

import (
	_ "github.com/weirproxy/weir/core/limit"
	_ "github.com/weirproxy/weir/core/plan"
)
