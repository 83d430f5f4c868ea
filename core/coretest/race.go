//go:build race

package coretest

// RaceEnabled says that the race detector is on.
const RaceEnabled = true
