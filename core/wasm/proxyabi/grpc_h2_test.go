package proxyabi

import (
	"bytes"
	"io"
	"testing"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weirproxy/weir/core/coretest"
)

// h2Stream is one request to a server that answers in frames, as no library would.
type h2Stream struct {
	fr *h2.Framer
	id uint32
}

// h2Server hands every request to serve when its head has come.
func h2Server(t testing.TB, serve func(s *h2Stream)) (address string) {
	return coretest.StartRaw(t, func(u *coretest.Client) {
		preface := make([]byte, len(h2.ClientPreface))
		if _, err := io.ReadFull(u.In, preface); err != nil {
			return
		}
		fr := h2.NewFramer(u.Conn, u.In)
		_ = fr.WriteSettings()
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *h2.SettingsFrame:
				if !f.IsAck() {
					_ = fr.WriteSettingsAck()
				}
			case *h2.PingFrame:
				_ = fr.WritePing(true, f.Data)
			case *h2.HeadersFrame:
				serve(&h2Stream{fr, f.StreamID})
			}
		}
	}).Address()
}

func (s *h2Stream) head(end bool, fields ...string) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i+1 < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = s.fr.WriteHeaders(h2.HeadersFrameParam{StreamID: s.id, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: end})
}

func (s *h2Stream) data(end bool, text string) { _ = s.fr.WriteData(s.id, end, []byte(text)) }
func (s *h2Stream) reset()                     { _ = s.fr.WriteRSTStream(s.id, h2.ErrCodeInternal) }
