package coretest

import "testing"

func TestRedis(t *testing.T) {
	socket := StartRedis(t)
	if !redisSays(socket, "SET a 1\r\n", "+OK\r\n") || !redisSays(socket, "GET a\r\n", "$1\r\n1\r\n") {
		t.Error("does not keep what it was told")
	}
}
