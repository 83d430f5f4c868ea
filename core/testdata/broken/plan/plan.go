package plan

import _ "github.com/weirproxy/weir/core/coretest"
