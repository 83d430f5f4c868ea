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
package core
