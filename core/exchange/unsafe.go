package exchange

import "unsafe"

// stringBytes views a string as bytes that nobody may write.
func stringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
