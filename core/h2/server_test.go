package h2

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"testing"
)

func TestGet(t *testing.T) {
	r := startServer(t, Settings{}, echo)
	c := r.client()
	for range 3 {
		answer, err := c.Get(r.url("/a?b=c"))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != 200 || answer.Proto != "HTTP/2.0" || answer.Header.Get("X-Length") != "0" {
			t.Errorf("%v", answer)
		}
	}
}

func TestPostLarge(t *testing.T) {
	r := startServer(t, Settings{}, echo)
	sent := make([]byte, 10<<20)
	rand.Read(sent)
	for _, length := range []int64{-1, int64(len(sent))} {
		req, _ := http.NewRequest("POST", r.url("/"), io.NopCloser(bytes.NewReader(sent)))
		req.ContentLength = length
		answer, err := r.client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes back, %v", len(got), err)
		}
	}
}
