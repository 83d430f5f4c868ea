package observe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/exchange"
)

func TestWriterWritesSoon(t *testing.T) {
	r, w := io.Pipe()
	defer r.Close()
	log := MustWriter(t, WriterOptions{To: w})
	fmt.Fprintln(log, "one")
	got, err := bufio.NewReader(r).ReadString('\n')
	if got != "one\n" || err != nil {
		t.Error(got, err)
	}
}

// Lines of one goroutine keep their order in an ordered writer, and no line is lost or torn in any.
func TestWriterHammer(t *testing.T) {
	for _, ordered := range []bool{true, false} {
		var out bytes.Buffer
		w := MustWriter(t, WriterOptions{To: &out, Ordered: ordered})
		const workers, rounds = 8, 3000
		var g sync.WaitGroup
		for i := range workers {
			g.Go(func() {
				for j := range rounds {
					fmt.Fprintf(w, "%d %d %s\n", i, j, strings.Repeat("x", j%50))
				}
			})
		}
		g.Wait()
		if err := w.Close(5 * time.Second); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines)+int(w.Dropped()) != workers*rounds || w.Dropped() != 0 {
			t.Errorf("%d lines, %d dropped", len(lines), w.Dropped())
		}
		next := map[string]int{}
		for _, l := range lines {
			f := strings.Fields(l + " ")
			j, err := strconv.Atoi(f[1])
			if err != nil || len(l) != len(f[0])+len(f[1])+2+j%50 {
				t.Fatalf("torn line %q", l)
			}
			if ordered && j != next[f[0]] {
				t.Fatalf("line %q came when %d was due", l, next[f[0]])
			}
			next[f[0]] = j + 1
		}
	}
}

type countingWriter struct{ calls, bytes int }

func (c *countingWriter) Write(p []byte) (int, error) {
	c.calls++
	c.bytes += len(p)
	return len(p), nil
}

// Lines are gathered, on all processors: a system call for each would cost more than the request.
func TestWriterGathers(t *testing.T) {
	var out countingWriter
	w := MustWriter(t, WriterOptions{To: &out, Buffer: 16 << 20})
	start := time.Now()
	var g sync.WaitGroup
	for range 4 {
		g.Go(func() {
			for range 5000 {
				io.WriteString(w, "a line of some length, so that the buffers fill\n")
			}
		})
	}
	g.Wait()
	took := time.Since(start)
	if err := w.Close(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if most := (int(took/gather) + 3) * len(w.shards); out.calls > most || out.bytes != 20000*48 {
		t.Errorf("%d writes of %d bytes, in %v at most %d are due", out.calls, out.bytes, took, most)
	}
}

// A reader that has stopped costs lines and no time, and Close does not wait for it longer than it may.
func TestStoppedPipeDelaysNobody(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer swap(&os.Stdout, w)()
	defer w.Close()
	a := MustAccess(t, AccessLogOptions{WriterOptions: WriterOptions{Output: "stdout", Buffer: 64 << 10}})
	x := sample()
	defer exchange.Release(x)

	const lines = 20000
	start := time.Now()
	for range lines {
		a.Record(x)
	}
	// Far above what formatting costs on a busy machine; waiting for the pipe would never end.
	if d := time.Since(start); d > lines*100*time.Microsecond {
		t.Errorf("%d lines took %v", lines, d)
	}
	if d := a.Writer().Dropped(); d < lines/2 {
		t.Errorf("%d dropped of %d that nobody reads", d, lines)
	}
	start = time.Now()
	if err := a.Close(50 * time.Millisecond); err != nil {
		t.Error(err) // a pipe is opened anew, so that the write can be ended
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("Close took %v", d)
	}
	a.Record(x)
	if a.Writer().Dropped() < lines/2+1 || a.Close(time.Second) != nil {
		t.Error("a closed log is not quiet")
	}
}

func TestCloseGivesUp(t *testing.T) {
	stopped := newStoppedWriter()
	w := MustWriter(t, WriterOptions{To: stopped, Output: "memory"})
	fmt.Fprintln(w, "one")
	err := w.Close(10 * time.Millisecond)
	if err == nil || err.Error() != "close log memory: output blocked for 10ms" {
		t.Error(err)
	}
	stopped.resume()
	<-w.done
}

// A reader that is gone costs lines, not the process; nor does writing to the original descriptors kill it.
func TestGoneReader(t *testing.T) {
	r, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	restore := swap(&os.Stderr, pipe)
	w := MustWriter(t, WriterOptions{Output: "stderr"})
	restore()
	pipe.Close()
	r.Close()
	for i := range uint64(3) {
		fmt.Fprintln(w, "nobody hears")
		waitFor(t, func() bool { return w.Dropped() == i+1 })
	}
	if err := w.Close(time.Second); err != nil {
		t.Error(err)
	}
}

func TestDuplicateOfFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	restore := swap(&os.Stdout, f)
	w := MustWriter(t, WriterOptions{Output: "stdout"})
	restore()
	fmt.Fprintln(w, "one")
	if err := errors.Join(w.Reopen(), w.Close(time.Second)); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(f.Name()); string(got) != "one\n" {
		t.Errorf("%q", got)
	}
	if _, err := f.WriteString("still open"); err != nil {
		t.Error(err)
	}
	f.Close()
	defer swap(&os.Stdout, f)()
	if _, err := OpenWriter(WriterOptions{Output: "stdout"}); err == nil {
		t.Error("a closed stdout was opened")
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "access.log")
	w := MustWriter(t, WriterOptions{Output: name})
	fmt.Fprintln(w, "one")
	if err := os.Rename(name, name+".1"); !errors.Is(err, os.ErrNotExist) && err != nil {
		t.Fatal(err)
	}
	if err := w.Reopen(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w, "two")
	if err := w.Close(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{name + ".1": "one\n", name: "two\n"} {
		if got, err := os.ReadFile(file); string(got) != want || err != nil {
			t.Errorf("%s: %q, %v", file, got, err)
		}
	}
	if err := w.Reopen(); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}

// A reopening that fails keeps the old file.
func TestReopenFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "access.log")
	w := MustWriter(t, WriterOptions{Output: name})
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	if err := w.Reopen(); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	fmt.Fprintln(w, "one")
	w.Close(5 * time.Second)
	if got, _ := os.ReadFile(filepath.Join(dir+".old", "access.log")); string(got) != "one\n" {
		t.Errorf("%q", got)
	}
}

func TestOpenErrors(t *testing.T) {
	f := func(output, want string) {
		t.Helper()
		if _, err := OpenWriter(WriterOptions{Output: output}); err == nil || err.Error() != want {
			t.Error(err)
		}
		if _, err := OpenAccessLog(AccessLogOptions{WriterOptions: WriterOptions{Output: output}}); err == nil || err.Error() != want {
			t.Error(err)
		}
	}
	f("", "open log : no name")
	f("/nowhere/x.log", "open log /nowhere/x.log: open /nowhere/x.log: no such file or directory")
}

// full takes some bytes and then fails as a full disk does, until there is room again.
type full struct {
	mu   sync.Mutex
	out  bytes.Buffer
	room int
}

func (f *full) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := min(len(p), f.room)
	f.room -= n
	f.out.Write(p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (f *full) free(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.room = n
}

// A line that a full disk cut in two stands alone, and those after it are whole.
func TestFullDisk(t *testing.T) {
	disk := &full{room: 10}
	w := MustWriter(t, WriterOptions{To: disk, Ordered: true})
	io.WriteString(w, "one two\n")
	io.WriteString(w, "three four\n")
	waitFor(t, func() bool { return w.Dropped() == 1 })
	io.WriteString(w, "five\n")
	waitFor(t, func() bool { return w.Dropped() == 2 })
	disk.free(1000)
	io.WriteString(w, "six\n")
	if err := w.Close(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if got := disk.out.String(); got != "one two\nth\nsix\n" {
		t.Errorf("%q", got)
	}
}

func TestLog(t *testing.T) {
	var out bytes.Buffer
	w := MustWriter(t, WriterOptions{To: &out, Ordered: true})
	log := NewLog(zerolog.InfoLevel, w)
	log.Debug().Msg("unheard")
	log.Warn().Str("file", "weir.yaml").Msg("reloaded")
	w.Close(5 * time.Second)
	head, rest, _ := strings.Cut(out.String(), `,"timestamp":"20`)
	_, tail, _ := strings.Cut(rest, `Z"`)
	if head != `{"level":"warn","file":"weir.yaml"` || tail != `,"message":"reloaded"}`+"\n" {
		t.Error(out.String())
	}
}

func swap(p **os.File, f *os.File) (restore func()) {
	old := *p
	*p = f
	return func() { *p = old }
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}
