//go:build !wasip1

package httpwasm

// Outside of a host there is nothing to call: a filter compiles, so that its own functions can be tested, and that is all.

const alone = "httpwasm: runs as a filter only; build with GOOS=wasip1 GOARCH=wasm"

func enableFeatures(uint32) uint32                                    { panic(alone) }
func getConfig(pointer, uint32) uint32                                { panic(alone) }
func logMessage(int32, pointer, uint32)                               { panic(alone) }
func logEnabled(int32) uint32                                         { panic(alone) }
func getMethod(pointer, uint32) uint32                                { panic(alone) }
func setMethod(pointer, uint32)                                       { panic(alone) }
func getURI(pointer, uint32) uint32                                   { panic(alone) }
func setURI(pointer, uint32)                                          { panic(alone) }
func getProtocolVersion(pointer, uint32) uint32                       { panic(alone) }
func getSourceAddr(pointer, uint32) uint32                            { panic(alone) }
func getHeaderNames(uint32, pointer, uint32) uint64                   { panic(alone) }
func getHeaderValues(uint32, pointer, uint32, pointer, uint32) uint64 { panic(alone) }
func setHeaderValue(uint32, pointer, uint32, pointer, uint32)         { panic(alone) }
func addHeaderValue(uint32, pointer, uint32, pointer, uint32)         { panic(alone) }
func removeHeader(uint32, pointer, uint32)                            { panic(alone) }
func readBody(uint32, pointer, uint32) uint64                         { panic(alone) }
func writeBody(uint32, pointer, uint32)                               { panic(alone) }
func getStatusCode() uint32                                           { panic(alone) }
func setStatusCode(uint32)                                            { panic(alone) }
