package proxyabi

import (
	"regexp"

	"github.com/weirproxy/weir/core/wasm"
)

var metricFunctions = []wasm.HostFunc{}

// Tag is a label of metrics that guests define: the second group of Pattern in a metric's name is its value, the first is cut
// out of the name.
type Tag struct {
	Name    string
	Pattern *regexp.Regexp
}
