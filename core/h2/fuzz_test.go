package h2

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/wire"
)

// seeds are connections worth varying.
func seeds() [][]byte {
	var all [][]byte
	add := func(write func(f *http2.Framer, block func(...string) []byte)) {
		var out, b bytes.Buffer
		f := http2.NewFramer(&out, nil)
		f.AllowIllegalWrites = true
		enc := hpack.NewEncoder(&b)
		write(f, func(fields ...string) []byte {
			b.Reset()
			for i := 0; i+1 < len(fields); i += 2 {
				_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
			}
			return bytes.Clone(b.Bytes())
		})
		all = append(all, out.Bytes())
	}
	head := func(f *http2.Framer, id uint32, end bool, block []byte) {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: end, EndHeaders: true})
	}
	add(func(f *http2.Framer, block func(...string) []byte) {
		_ = f.WriteSettings()
		head(f, 1, true, block(get("cookie", "a", "cookie", "b")...))
		_ = f.WriteSettingsAck()
	})
	add(func(f *http2.Framer, block func(...string) []byte) {
		_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
		head(f, 1, false, block(post("content-length", "5")...))
		_ = f.WriteDataPadded(1, false, []byte("hel"), []byte{0, 0})
		_ = f.WriteData(1, false, []byte("lo"))
		head(f, 1, true, block("x-trailer", "1"))
		_ = f.WriteWindowUpdate(1, 10)
		_ = f.WriteWindowUpdate(0, 10)
	})
	add(func(f *http2.Framer, block func(...string) []byte) {
		_ = f.WriteSettings()
		b := block(get("x", "y")...)
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:3], EndStream: true})
		_ = f.WriteContinuation(1, false, b[3:5])
		_ = f.WriteContinuation(1, true, b[5:])
		_ = f.WriteRSTStream(1, http2.ErrCodeCancel)
		_ = f.WritePriority(3, http2.PriorityParam{StreamDep: 1, Weight: 7})
		_ = f.WritePing(false, [8]byte{1, 2, 3})
		_ = f.WriteGoAway(0, http2.ErrCodeNo, []byte("bye"))
	})
	add(func(f *http2.Framer, block func(...string) []byte) {
		_ = f.WriteSettings()
		for id := uint32(1); id < 20; id += 2 {
			head(f, id, id%4 == 1, block(post()...))
		}
		_ = f.WriteData(3, true, []byte("x"))
		_ = f.WriteWindowUpdate(7, 0)
		_ = f.WriteData(7, true, []byte("x"))
		_ = f.WriteData(1, true, []byte("x"))
	})
	add(func(f *http2.Framer, block func(...string) []byte) {
		_ = f.WriteSettings()
		head(f, 1, false, block(":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/", ":authority", "a", "sec-websocket-version", "13"))
		_ = f.WriteData(1, false, []byte("frames"))
		_ = f.WriteData(1, true, nil)
	})
	return all
}

// FuzzServerFrames: whatever comes behind the preface, nothing panics or hangs, every handler ends, and what is written back
// is HTTP/2.
func FuzzServerFrames(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		client, server := net.Pipe()
		s := Settings{Streams: 8, Header: time.Second, Idle: time.Second, WriteIdle: time.Second, Tunnels: true}
		v := NewServer(netio.New(server), s, func(s *Stream) {
			x := exchange.Acquire()
			x.WriteIdle = 20 * time.Millisecond
			err := s.Begin(x, &wire.Defaults, 20*time.Millisecond)
			if err == nil {
				_, err = drain(x)
			}
			status := 200
			if err != nil {
				status = 400
			}
			reply(x, status, "an answer", "x", "y")
			exchange.Release(x)
		})
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = v.Serve(nil)
		}()
		read := make(chan struct{})
		go func() {
			defer close(read)
			fr := http2.NewFramer(io.Discard, client)
			fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
			for {
				if _, err := fr.ReadFrame(); err != nil {
					if _, bad := err.(http2.ConnectionError); bad {
						t.Errorf("server wrote what is no HTTP/2: %v", err)
					}
					return
				}
			}
		}()
		_ = client.SetDeadline(time.Now().Add(10 * time.Second))
		_, err := client.Write(append([]byte(Preface), sent...))
		if err == nil {
			time.Sleep(time.Millisecond) // some of what it says happens before the end, some after
		}
		_ = client.Close()
		select {
		case <-served:
		case <-time.After(10 * time.Second):
			t.Fatal("connection does not end")
		}
		<-read
		if n := v.Streams(); n != 0 {
			t.Errorf("%d handlers left", n)
		}
	})
}
