package proxyabi

import "sync/atomic"

// figures count what becomes of a VM's calls.
type figures struct {
	memory   atomic.Int64 // bytes of the largest instance so far
	errors   [len(errorKinds)]atomic.Int64
	open     atomic.Int64 // streams
	made     atomic.Int64 // instances
	gone     atomic.Int64 // of them, by a trap
	recycled atomic.Int64 // of them, since they had become too large
}

// errorKinds names what is counted.
var errorKinds = [...]string{"trap", "budget", "depth", "memory", "busy", "start", "body_limit", "stopped", "pause"}

const (
	errorTrap = iota
	errorBudget
	errorDepth
	errorMemory
	errorBusy    // no instance was there
	errorStart   // no instance could be made
	errorLimit   // more body than body_limit
	errorStopped // not called: it failed too often
	errorPause   // paused for too long
)
