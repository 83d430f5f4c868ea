package source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// How long a server may take: to answer at all, and for a whole module.
const (
	answerTime = 10 * time.Second
	fetchTime  = time.Minute
)

// answer is what a server gave.
type answer struct {
	code      []byte
	etag      string
	unchanged bool // it is still what the ETag asked with names
}

// download asks for a module once. Without an ETag the answer is a module or an error.
func (s *Store) download(u *url.URL, etag string) (a answer, err error) {
	ctx, cancel := s.context(context.Background(), fetchTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", u.String(), nil)
	if err != nil {
		return a, err
	}
	req.Header.Set("User-Agent", "weir")
	req.Header.Set("Accept", "application/wasm, application/octet-stream;q=0.9, */*;q=0.5")
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	res, err := s.client(answerTime).Do(req)
	if err != nil {
		return a, plain(err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusNotModified && etag != "":
		a.unchanged = true
		return a, nil
	case res.StatusCode != http.StatusOK:
		return a, fmt.Errorf("the server answers %s", res.Status)
	}
	a.code, err = readMost(res.Body, s.most)
	if err == nil {
		// Between our goodbye on a TLS connection and its end, a server that is told of it may end a body that is not all
		// there as if it were: seen with net/http's.
		err = ctx.Err()
	}
	if err != nil {
		return a, plain(err)
	}
	a.etag = res.Header.Get("ETag")
	return a, nil
}

// readMost reads a module of at most so many bytes.
func readMost(r io.Reader, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		err = tooLarge(most)
	}
	return b, err
}

func tooLarge(most int64) error { return fmt.Errorf("larger than %d MiB", most>>20) }

// plain takes what is said twice out of an error of the client: its method and address.
func plain(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("it takes too long")
	}
	return err
}

func (s *Store) transport(wait time.Duration) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: answerTime}).DialContext,
		TLSHandshakeTimeout:   answerTime,
		TLSClientConfig:       &tls.Config{RootCAs: s.o.Roots, MinVersion: tls.VersionTLS12},
		ResponseHeaderTimeout: wait,
		DisableKeepAlives:     true,
		DisableCompression:    true, // a module is hashed as it is sent
		ForceAttemptHTTP2:     true,
	}
}

const maxRedirects = 5

func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("redirected from https to %s", req.URL.Redacted())
	}
	return nil
}
