// Package abi is what the hosts of both filter ABIs share: the log of a filter, its breaker, and what guests may put into
// messages.
package abi
