// Package clock reads time cheaply. Monotonic readings are nanoseconds since the process began; they never step.
package clock

import "time"

var start = time.Now()

// Nano is the monotonic time in nanoseconds since the process began, at least 1.
func Nano() int64 { return int64(time.Since(start)) + 1 }

// Wall turns a reading of Nano into wall-clock time as it was judged when the process began.
func Wall(nano int64) time.Time { return start.Add(time.Duration(nano)) }
