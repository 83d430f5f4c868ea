package unit

import _ "github.com/weirproxy/weir/core/config"
