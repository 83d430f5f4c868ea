package coretest

import (
	"net"
	"os/exec"
	"path/filepath"
	"testing"
)

// StartRedis runs a real redis-server of the test's own, without a disk, on a unix socket whose path it gives. What says Redis
// is tested on Redis.
func StartRedis(t testing.TB) (socket string) {
	t.Helper()
	server, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is needed; `make tools` installs it")
	}
	socket = filepath.Join(t.TempDir(), "redis.sock")
	c := exec.Command(server, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	Eventually(t, "redis-server answers", func() bool { return redisSays(socket, "PING\r\n", "+PONG\r\n") })
	return socket
}

func redisSays(socket, command, want string) bool {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	defer c.Close()
	if _, err := c.Write([]byte(command)); err != nil {
		return false
	}
	buf := make([]byte, len(want))
	_, err = c.Read(buf)
	return err == nil && string(buf) == want
}
