package node_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

// socket connects by system calls alone, so that the client's end costs no memory of the process.
func socket(t *testing.T, r *coretest.Rig) int {
	t.Helper()
	address, err := net.ResolveTCPAddr("tcp", r.Address)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Addr: [4]byte(address.IP.To4()), Port: address.Port}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// inUse is what the process has of heap and stacks after a collection.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestMemoryOfConnections measures what a connection costs that does nothing, or is slow.
func TestMemoryOfConnections(t *testing.T) {
	const n = 1000
	yaml := strings.Replace(plain, "routes:", "timeouts: {header: 1m, idle: 1m, body_idle: 1m}\nroutes:", 1)
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})
	f := func(name string, r *coretest.Rig, floor int64, open func() int) {
		t.Run(name, func(t *testing.T) {
			fds := make([]int, 0, n+1)
			defer func() {
				for _, fd := range fds {
					syscall.Close(fd)
				}
			}()
			fds = append(fds, open())
			before := inUse()
			for range n {
				fds = append(fds, open())
			}
			each := int64(0)
			coretest.Eventually(t, "all is quiet", func() bool { // the last of them have been taken, and wait
				last := each
				each = (inUse() - before) / n
				return each <= last+last/100 && last <= each+each/100
			})
			t.Logf("%s: %d bytes", name, each)
			if each > floor {
				t.Errorf("%s: %d bytes a connection, the floor is %d", name, each, floor)
			}
		})
	}
	r := coretest.Start(t, yaml, serve, coretest.Options{})
	say := func(text string, answer bool) func() int {
		return func() int {
			fd := socket(t, r)
			if _, err := syscall.Write(fd, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if answer {
				if n, err := syscall.Read(fd, make([]byte, 4096)); n < 12 || err != nil {
					t.Fatal(n, err)
				}
			}
			return fd
		}
	}
	f("idle", r, 12<<10, say(get, true))
	f("slow head", r, 24<<10, say("GET / HTTP/1.1\r\nHost: a\r\n", false))

	r2, _ := start2(t, yaml, true, serve, coretest.Options{})
	overTLS := func(proto string) func() int {
		return func() int {
			fd := socket(t, r2)
			kept, err := syscall.Dup(fd)
			if err != nil {
				t.Fatal(err)
			}
			file := os.NewFile(uintptr(fd), "")
			nc, err := net.FileConn(file)
			file.Close()
			if err != nil {
				t.Fatal(err)
			}
			c := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}})
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			if proto == "http/1.1" {
				if _, err := io.WriteString(c, get); err != nil {
					t.Fatal(err)
				}
			}
			if n, err := c.Read(make([]byte, 4096)); n < 1 && err != nil {
				t.Fatal(n, err)
			}
			nc.Close() // the connection lives on in kept, without a word of goodbye
			return kept
		}
	}
	f("idle over TLS", r2, 13<<10, overTLS("http/1.1"))
}
