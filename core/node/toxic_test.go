package node_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"

	"github.com/weirproxy/weir/core/coretest"
)

// toxic is one way in which a network is bad, both ways.
type toxic struct {
	name  string
	toxic toxics.Toxic
}

var allToxics = []toxic{
	{"latency", &toxics.LatencyToxic{Latency: 100}},
	{"jitter", &toxics.LatencyToxic{Latency: 50, Jitter: 50}},
	{"1 KB a second", &toxics.BandwidthToxic{Rate: 1}},
	{"reset", &toxics.ResetToxic{Timeout: 20}},
	{"slices", &toxics.SlicerToxic{AverageSize: 64, SizeVariation: 32, Delay: 10}},
	{"silence", &toxics.TimeoutToxic{Timeout: 1000}},
	{"limit", &toxics.LimitDataToxic{Bytes: 1500}},
}

// startToxic is a bad network before the address. All connections are closed with the test.
func startToxic(t *testing.T, x toxics.Toxic, to string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var open []net.Conn
	var stubs []*toxics.ToxicStub
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			u, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			mu.Lock()
			open = append(open, c, u)
			mu.Unlock()
			if _, ok := x.(*toxics.ResetToxic); ok {
				_ = c.(*net.TCPConn).SetLinger(0)
				_ = u.(*net.TCPConn).SetLinger(0)
			}
			mu.Lock()
			stubs = append(stubs, pipeToxic(&all, x, u, c), pipeToxic(&all, x, c, u))
			mu.Unlock()
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		for _, s := range stubs {
			go s.InterruptToxic() // which would take its time for the rest
		}
		mu.Unlock()
		all.Wait()
	})
	return ln.Addr().String()
}

// pipeToxic passes bytes from src to dst by the toxic, in goroutines of all.
func pipeToxic(all *sync.WaitGroup, x toxics.Toxic, dst, src net.Conn) *toxics.ToxicStub {
	size := 0
	if b, ok := x.(toxics.BufferedToxic); ok {
		size = b.GetBufferSize()
	}
	in, out := make(chan *stream.StreamChunk, size), make(chan *stream.StreamChunk)
	stub := toxics.NewToxicStub(in, out)
	if s, ok := x.(toxics.StatefulToxic); ok {
		stub.State = s.NewState()
	}
	all.Go(func() {
		_, _ = io.Copy(stream.NewChanWriter(in), src)
		close(in)
	})
	all.Go(func() {
		stub.Run(&toxics.ToxicWrapper{Toxic: x, Toxicity: 1})
		stub.Close()
		for range in { // what comes when the toxic has ended goes nowhere
		}
	})
	all.Go(func() {
		_, _ = io.Copy(dst, stream.NewChanReader(out))
		dst.Close()
		for range out {
		}
	})
	return stub
}

// TestBadNetworks sends and fetches bodies over networks that are bad in seven ways: each answer is whole to the byte or
// visibly failed, and so is each upload. WEIR_TOXIC sets for how long a client waits for a slow one.
func TestBadNetworks(t *testing.T) {
	patience := coretest.Lasting(t, "WEIR_TOXIC", 4*time.Second)
	source := make([]byte, 1<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range source {
		source[i] = byte(r.Uint32())
	}
	var wrong, whole, failed atomic.Int64
	up := coretest.StartRaw(t, func(u *coretest.Client) {
		_ = u.SetReadDeadline(time.Now().Add(2 * patience))
		req, err := http.ReadRequest(u.In)
		if err != nil {
			return
		}
		n, _ := strconv.Atoi(req.Header.Get("X-Size"))
		if req.Method == "POST" {
			got, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			if !bytes.Equal(got, source[:n]) {
				wrong.Add(1)
				t.Errorf("an upload of %d bytes arrived as %d", n, len(got))
			}
			n = len(got)
		}
		fmt.Fprintf(u, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", n)
		_, _ = u.Write(source[:n])
	})
	var cells sync.WaitGroup
	for _, x := range allToxics {
		yaml := strings.Replace(plain, `["http://${UPSTREAM}"]`, `["http://${UPSTREAM}"], timeouts: {response_header: 30s, idle: 30s, connect: 5s}`, 1)
		rig := coretest.Start(t, yaml, nil, coretest.Options{Env: map[string]string{"UPSTREAM": startToxic(t, x.toxic, up.Address())}})
		for _, size := range []int{100, 3000, 60_000, 1 << 20} {
			for _, method := range []string{"GET", "POST"} {
				cells.Go(func() {
					got, err := overBad(rig, method, source[:size], patience)
					switch {
					case err != nil:
						failed.Add(1)
						t.Logf("%s, %s of %d bytes: %v", x.name, method, size, err)
					case !bytes.Equal(got, source[:size]):
						wrong.Add(1)
						t.Errorf("%s, %s of %d bytes: came as %d", x.name, method, size, len(got))
					default:
						whole.Add(1)
					}
				})
			}
		}
	}
	cells.Wait()
	t.Logf("%d whole, %d visibly failed, %d wrong", whole.Load(), failed.Load(), wrong.Load())
	coretest.Score(t, "D7", "cells", float64(whole.Load()+failed.Load()+wrong.Load()))
	coretest.Score(t, "D7", "wrong", float64(wrong.Load()))
	if whole.Load() < 20 || failed.Load() < 8 {
		t.Error("the networks are not what they should be")
	}
}

// overBad asks and gives the body of an answer that is whole by its framing.
func overBad(rig *coretest.Rig, method string, body []byte, patience time.Duration) ([]byte, error) {
	nc, err := net.Dial("tcp", rig.Address)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(nc, "%s / HTTP/1.1\r\nHost: a\r\nX-Size: %d\r\n", method, len(body))
	var sent sync.WaitGroup
	defer sent.Wait()
	defer nc.Close()
	if method == "POST" {
		fmt.Fprintf(nc, "Content-Length: %d\r\n\r\n", len(body))
		sent.Go(func() { _, _ = nc.Write(body) })
	} else {
		_, _ = io.WriteString(nc, "\r\n")
	}
	k := coretest.NewClient(rig.T, nc)
	_ = nc.SetDeadline(time.Now().Add(patience))
	answer, err := http.ReadResponse(k.In, nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != 200 {
		err = fmt.Errorf("%s", answer.Status)
	}
	return got, err
}
