package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

type healthCommand struct {
	Admin   string        `default:"127.0.0.1:9901" help:"Admin address of the node: host:port or unix:/path; 127.0.0.1:9901 if not given." placeholder:"ADDRESS"`
	Ready   bool          `help:"Ask for readiness instead."`
	Timeout time.Duration `default:"3s" help:"How long to wait for the answer."`
}

func (c *healthCommand) Run(out io.Writer) error {
	client := http.Client{Timeout: c.Timeout}
	url := "http://" + c.Admin + "/health"
	if path, ok := strings.CutPrefix(c.Admin, "unix:"); ok {
		url = "http://weir/health"
		client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}
	} else if _, _, err := net.SplitHostPort(c.Admin); err != nil {
		return &usageError{fmt.Errorf("--admin wants host:port or unix:/path, not %q", c.Admin)}
	}
	if c.Ready {
		url += "/ready"
	}
	answer, err := client.Get(url)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("read health: %w", err)
	}
	fmt.Fprintln(out, strings.TrimSpace(string(body)))
	if answer.StatusCode != http.StatusOK {
		return errors.New("not healthy: " + answer.Status)
	}
	return nil
}
