// Package core is the house weir is built as. A package imports packages of strictly lower floors only; the test beside
// this file holds it to that.
//
//	ground    unit, fault, pool, clock, metric: no weir package
//	sockets   netio, socket
//	words     config, exchange
//	contract  filter, wire; and importer, which only cmd asks
//	HTTP/2    h2
//	engines   route, upstream, wasm, identity, limit, observe, certs: none imports another
//	assembly  plan
//	path      proxy
//	shell     server, admin
//	process   node
//
// Beside them stands coretest, for tests only.
//
// Filters that operators bring are in wasm, whose folders have an order of their own: meter rewrites modules so that they can
// be stopped; wasm compiles and instantiates them, and knows no ABI; abi is what both ABIs have in common; httpabi and proxyabi
// are the two of them, each a filter.Filter; source brings modules to the node; inspect tells of one. What a configuration
// says of them is put together in filters/wasm, of which plan knows the contract only.
package core
