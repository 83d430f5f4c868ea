package wasm

import (
	"crypto/sha256"
	"strconv"
	"strings"
	"time"

	"github.com/weirproxy/weir/core/config"
)

// key is all that a filter depends on.
type key struct {
	vm                  vmKey
	name, config        string
	rootID, calls, kong string
	stop                bool
}

// vmKey is all that instances depend on: filters whose keys are the same share them, if their module's ABI lets them.
type vmKey struct {
	owner             string // vm_id, or the filter's name
	config, env, tags string
	hash              [sha256.Size]byte
	cpu, total, start time.Duration
	pause             time.Duration
	memory, limit     int64
	instances         int
}

func keyOf(c *config.WasmFilter, text string, s *source) key {
	return key{
		vm: vmKey{
			owner: ownerOf(c), config: c.VMConfig, env: strings.Join(s.env, "\x00"), tags: tagsOf(c), hash: s.hash,
			cpu: c.CPU, total: c.CPUTotal, start: c.Start, pause: c.Pause, memory: c.Memory, limit: c.BodyLimit, instances: c.Instances,
		},
		name: c.Name, config: text, rootID: c.RootID, calls: strings.Join(c.Calls, "\x00"), kong: c.Properties, stop: c.StopIteration,
	}
}

// ownerOf tells vm_ids and names apart.
func ownerOf(c *config.WasmFilter) string {
	if c.VMID != "" {
		return "vm_id\x00" + c.VMID
	}
	return "name\x00" + c.Name
}

func tagsOf(c *config.WasmFilter) string {
	var b []byte
	for _, t := range c.Tags {
		b = strconv.AppendQuote(append(b, t.Name...), t.Pattern.String())
	}
	return string(b)
}
