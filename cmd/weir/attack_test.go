package main

import (
	"bytes"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weirproxy/weir/core/coretest"
)

// h2Conn is a client's end of an HTTP/2 connection that can break every rule.
type h2Conn struct {
	nc    net.Conn
	frame *http2.Framer
	block bytes.Buffer
	pack  *hpack.Encoder
	id    uint32 // of the next stream
	ended chan struct{}
}

func dialH2(address string, settings ...http2.Setting) (*h2Conn, error) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	c := &h2Conn{nc: nc, id: 1, ended: make(chan struct{})}
	c.frame = http2.NewFramer(nc, nil)
	c.frame.AllowIllegalWrites = true
	c.pack = hpack.NewEncoder(&c.block)
	_, _ = io.WriteString(nc, http2.ClientPreface)
	_ = c.frame.WriteSettings(settings...)
	_ = c.frame.WriteWindowUpdate(0, 1<<30)
	go func() {
		defer close(c.ended)
		in := http2.NewFramer(io.Discard, nc)
		for {
			if f, err := in.ReadFrame(); err != nil {
				return
			} else if _, ok := f.(*http2.GoAwayFrame); ok {
				return
			}
		}
	}()
	return c, nil
}

func (c *h2Conn) close() {
	_ = c.nc.Close()
	<-c.ended
}

// head begins a stream.
func (c *h2Conn) head(method, path string, end, whole bool, more ...string) uint32 {
	c.block.Reset()
	for _, f := range [][2]string{{":method", method}, {":scheme", "http"}, {":authority", "a"}, {":path", path}} {
		_ = c.pack.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	for i := 0; i+1 < len(more); i += 2 {
		_ = c.pack.WriteField(hpack.HeaderField{Name: more[i], Value: more[i+1]})
	}
	id := c.id
	c.id += 2
	_ = c.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block.Bytes(), EndStream: end, EndHeaders: whole})
	return id
}

// attacks do one hostile thing each. The first of a connection may prepare the others.
var attacks = map[string]func(c *h2Conn, first bool){
	"rapid reset": func(c *h2Conn, _ bool) {
		_ = c.frame.WriteRSTStream(c.head("GET", "/", true, true), http2.ErrCodeCancel)
	},
	"made you reset": func(c *h2Conn, _ bool) {
		_ = c.frame.WriteWindowUpdate(c.head("POST", "/", false, true), 0)
	},
	"malformed": func(c *h2Conn, _ bool) { c.head("GET", "", true, true) },
	"continuation": func(c *h2Conn, first bool) {
		if first {
			c.head("GET", "/", true, false)
		}
		_ = c.frame.WriteContinuation(1, false, []byte("\x00\x01a\x01b"))
	},
	"settings": func(c *h2Conn, _ bool) { _ = c.frame.WriteSettings() },
	"ping":     func(c *h2Conn, _ bool) { _ = c.frame.WritePing(false, [8]byte{}) },
	"priority": func(c *h2Conn, _ bool) { _ = c.frame.WritePriority(1, http2.PriorityParam{StreamDep: 3}) },
	"empty data": func(c *h2Conn, first bool) {
		if first {
			c.head("POST", "/", false, true)
		}
		_ = c.frame.WriteData(1, false, nil)
	},
	"zero window": func(c *h2Conn, first bool) {
		if first {
			_ = c.frame.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize})
		}
		c.head("GET", "/large", true, true)
	},
	"hpack bomb": func(c *h2Conn, first bool) {
		if first {
			c.head("GET", "/", true, true, "x", strings.Repeat("y", 4000))
			return
		}
		block := append(slices.Clone([]byte{0x82, 0x86, 0x84, 0x41, 1, 'a'}), bytes.Repeat([]byte{0xbe}, 4000)...)
		_ = c.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: c.id, BlockFragment: block, EndStream: true, EndHeaders: true})
		c.id += 2
	},
}

// storm does something rate times a second for d, over a few connections: a new one for each that has ended.
func storm(t *testing.T, address string, rate int, d time.Duration, do func(c *h2Conn, first bool)) (done, conns int) {
	const parallel = 4
	var mu sync.Mutex
	var all sync.WaitGroup
	for range parallel {
		all.Go(func() {
			var c *h2Conn
			var err error
			began, n, opened := time.Now(), 0, 0
			for time.Since(began) < d {
				for due := int(time.Since(began).Seconds() * float64(rate) / parallel); n < due; n++ {
					first := c == nil
					if first {
						if c, err = dialH2(address); err != nil {
							t.Error(err)
							return
						}
						opened++
					}
					do(c, first)
					select {
					case <-c.ended:
						c.close()
						c = nil
					default:
						if c.id > 1<<20 {
							c.close()
							c = nil
						}
					}
				}
				time.Sleep(2 * time.Millisecond)
			}
			if c != nil {
				c.close()
			}
			mu.Lock()
			done, conns = done+n, conns+opened
			mu.Unlock()
		})
	}
	all.Wait()
	return done, conns
}

// cpu is the processor time that weir has used.
func (p *process) cpu() time.Duration {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/stat")
	if err != nil {
		p.t.Fatal(err)
	}
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// TestAttacksOfHTTP2 has clients attack at a rate, and compares with as many good requests a second: what weir's processor time
// goes to, what other clients notice, and memory. WEIR_ATTACK sets how long each takes.
func TestAttacksOfHTTP2(t *testing.T) {
	length := coretest.Lasting(t, "WEIR_ATTACK", 200*time.Millisecond)
	const rate = 2000
	large := strings.Repeat("x", 16<<10)
	var dialled atomic.Int64
	up := coretest.StartRaw(t, func(u *coretest.Client) {
		dialled.Add(1)
		_ = u.SetDeadline(time.Now().Add(time.Hour))
		for {
			switch head := u.Head(); {
			case head == "":
				return
			case strings.HasPrefix(head, "POST"):
				_, _ = u.Rest()
				return
			case strings.HasPrefix(head, "GET /large"):
				u.Send("HTTP/1.1 200 OK\r\nContent-Length: 16384\r\n\r\n" + large)
			default:
				u.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		}
	})
	p, address, _ := startNode(t, nil, `version: 1
access_log: {output: "off"}
listeners: [{address: "@ADDRESS@", h2c: true}]
admin: {address: "@ADMIN@"}
upstreams: {api: {endpoints: ["http://`+up.Address()+`"]}}
routes: [{match: {path: /*}, auth: none, upstream: api}]
`)
	others := &coretest.Steady{Address: address, Request: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", Rate: 300, Timeout: 10 * time.Second}
	defer others.Close()
	idle := p.resources().rss
	peak := idle
	// beside has do done at the rate, with the others beside it.
	beside := func(name string, do func(c *h2Conn, first bool)) (cpu float64, p99 time.Duration) {
		before := p.cpu()
		dialled.Store(0)
		var seen []coretest.Sample
		var both sync.WaitGroup
		both.Go(func() { seen = others.Run(t, length) })
		done, conns := 0, 0
		if do != nil {
			both.Go(func() { done, conns = storm(t, address, rate, length, do) })
		}
		stop := make(chan struct{})
		var watch sync.WaitGroup
		watch.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					peak = max(peak, p.resources().rss)
				}
			}
		})
		both.Wait()
		close(stop)
		watch.Wait()
		used := (p.cpu() - before).Seconds()
		if n := coretest.Good(t, seen, 200); n != len(seen) {
			t.Errorf("%s: other clients got %v", name, coretest.Statuses(seen))
		}
		p99 = coretest.Percentile(seen, 200, 0.99)
		t.Logf("%-15s %6d over %5d connections: %.2f s of processor time, others' p99 %s, rss %d KiB, %d connections upstream", name, done,
			conns, used, p99, p.resources().rss, dialled.Load())
		return used, p99
	}
	good := func(c *h2Conn, _ bool) { c.head("GET", "/", true, true) }
	beside("warm", good)
	base, _ := beside("nothing", nil)
	var worstCPU, worstP99 float64
	var usual []float64
	worst := ""
	for _, name := range slices.Sorted(maps.Keys(attacks)) {
		compared := good
		if name == "zero window" {
			compared = func(c *h2Conn, _ bool) { c.head("GET", "/large", true, true) }
		}
		goodCPU, goodP99 := beside("good requests", compared)
		cpu, p99 := beside(name, attacks[name])
		if r := (cpu - base) / max(goodCPU-base, 0.03); r > worstCPU { // the kernel counts in steps of 0.01
			worstCPU, worst = r, name
		}
		usual = append(usual, float64(goodP99))
		worstP99 = max(worstP99, float64(p99))
	}
	worstP99 /= coretest.Median(usual)
	t.Logf("the dearest is %s", worst)
	coretest.Score(t, "A14", "cpu", worstCPU)
	coretest.Score(t, "A14", "p99", worstP99)
	coretest.Score(t, "A14", "rss", float64(peak-idle)/1024)
	select {
	case <-p.done:
		t.Fatalf("weir has ended\n%s", p.stderr.String())
	default:
	}
	if worstCPU > 10 || peak-idle > 200<<10 {
		t.Errorf("processor time × %.1f, rss + %d KiB", worstCPU, peak-idle)
	}
}
