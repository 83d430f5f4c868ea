package node_test

func serveInChild() bool { return false }
