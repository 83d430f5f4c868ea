// Package observe tells operators what the proxy does: metrics as Prometheus text, the access log and the process log,
// which never make a request wait, and the node's health.
package observe
