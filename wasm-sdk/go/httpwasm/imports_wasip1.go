package httpwasm

//go:wasmexport handle_request
func exportRequest() uint64 { return handleRequest() }

//go:wasmexport handle_response
func exportResponse(_ uint32, isError uint32) { handleResponse(isError != 0) }

//go:wasmimport http_handler enable_features
func enableFeatures(features uint32) uint32

//go:noescape
//go:wasmimport http_handler get_config
func getConfig(p pointer, limit uint32) uint32

//go:noescape
//go:wasmimport http_handler log
func logMessage(level int32, p pointer, n uint32)

//go:wasmimport http_handler log_enabled
func logEnabled(level int32) uint32

//go:noescape
//go:wasmimport http_handler get_method
func getMethod(p pointer, limit uint32) uint32

//go:noescape
//go:wasmimport http_handler set_method
func setMethod(p pointer, n uint32)

//go:noescape
//go:wasmimport http_handler get_uri
func getURI(p pointer, limit uint32) uint32

//go:noescape
//go:wasmimport http_handler set_uri
func setURI(p pointer, n uint32)

//go:noescape
//go:wasmimport http_handler get_protocol_version
func getProtocolVersion(p pointer, limit uint32) uint32

//go:noescape
//go:wasmimport http_handler get_source_addr
func getSourceAddr(p pointer, limit uint32) uint32

//go:noescape
//go:wasmimport http_handler get_header_names
func getHeaderNames(kind uint32, p pointer, limit uint32) uint64

//go:noescape
//go:wasmimport http_handler get_header_values
func getHeaderValues(kind uint32, name pointer, n uint32, p pointer, limit uint32) uint64

//go:noescape
//go:wasmimport http_handler set_header_value
func setHeaderValue(kind uint32, name pointer, n uint32, value pointer, vn uint32)

//go:noescape
//go:wasmimport http_handler add_header_value
func addHeaderValue(kind uint32, name pointer, n uint32, value pointer, vn uint32)

//go:noescape
//go:wasmimport http_handler remove_header
func removeHeader(kind uint32, name pointer, n uint32)

//go:noescape
//go:wasmimport http_handler read_body
func readBody(kind uint32, p pointer, limit uint32) uint64

//go:noescape
//go:wasmimport http_handler write_body
func writeBody(kind uint32, p pointer, n uint32)

//go:wasmimport http_handler get_status_code
func getStatusCode() uint32

//go:wasmimport http_handler set_status_code
func setStatusCode(code uint32)
