package node_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/plan"
)

func TestStreamsSurviveReloads(t *testing.T) {
	next := make(chan string)
	r := coretest.Start(t, strings.Replace(numbered(0), "off", "stdout", 1), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			echo(w, r)
			return
		}
		for e := range next {
			fmt.Fprintf(w, "%s\n", e)
			_ = http.NewResponseController(w).Flush()
		}
	}), coretest.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, r.URL+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	go func() { next <- "begin" }()
	answer, err := http.Get(r.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	in := bufio.NewReader(answer.Body)
	_, _ = in.ReadString('\n')
	var plans []*plan.Plan
	for n := range 50 {
		plans = append(plans, r.Node.Plan())
		yaml := numbered(n)
		if n < 25 { // the log of the first half is still held by the streams
			yaml = strings.Replace(yaml, "off", "stdout", 1)
		}
		mustReload(t, r, yaml)
		next <- fmt.Sprint(n)
		if line, err := in.ReadString('\n'); line != fmt.Sprintln(n) {
			t.Fatalf("%q %v", line, err)
		}
		if err := ws.Write(ctx, websocket.MessageText, []byte(fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
		if _, got, err := ws.Read(ctx); string(got) != fmt.Sprint(n) {
			t.Fatalf("%q %v", got, err)
		}
	}
	for _, p := range plans { // not one plan is kept, not even that of the streams: they have no filters
		<-p.Closed()
	}
	close(next)
	_, _ = io.ReadAll(in)
	_ = ws.Close(websocket.StatusNormalClosure, "")
	coretest.Eventually(t, "both lines in the log that they began with", func() bool {
		return strings.Contains(r.Access.String(), `"path":"/events"`) && strings.Contains(r.Access.String(), `"path":"/ws"`)
	})
}

// A filter's state lives in the exchange: its plan stays until the stream has ended, and no other.
func TestStreamWithFilterKeepsItsPlan(t *testing.T) {
	ff := &fake{}
	next := make(chan string)
	r := coretest.Start(t, numbered(0), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for e := range next {
			_, _ = io.WriteString(w, e)
			_ = http.NewResponseController(w).Flush()
		}
	}), coretest.Options{Kinds: ff.kinds(false)})
	go func() { next <- "x" }()
	answer, err := http.Get(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	own := r.Node.Plan()
	for n := range 5 {
		old := r.Node.Plan()
		mustReload(t, r, numbered(n))
		if old != own {
			<-old.Closed()
		}
	}
	select {
	case <-own.Closed():
		t.Error("closed under a stream with a filter")
	default:
	}
	if n := ff.closed.Load(); n != 8 { // two routes each of four plans
		t.Errorf("%d filters closed", n)
	}
	close(next)
	_, _ = io.ReadAll(answer.Body)
	<-own.Closed()
}
