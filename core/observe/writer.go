package observe

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/metric"
)

// WriterOptions say where lines go and how many may wait.
type WriterOptions struct {
	// Output is "stdout", "stderr" or a file's name, which is appended to and made with mode 0640.
	Output string
	// To is written to instead, if it is not nil; Reopen does nothing then, and it is not closed.
	To io.Writer
	// Buffer is how many bytes of lines may wait to be written; 0 is 4 MiB. Twice as much is reserved and, until used,
	// costs no memory.
	Buffer int
	// Ordered keeps all lines in the order they came, at the price of one lock for all processors. Otherwise lines that
	// were written within a few milliseconds of each other may change places.
	Ordered bool
}

// Writer takes whole lines from any goroutine and writes them from one of its own. Write never waits for the output: a
// full disk, a pipe nobody reads or one whose reader is gone cost lines, which are counted, and no time.
type Writer struct {
	o       WriterOptions
	shards  []shard
	spare   []byte // what the writing goroutine swaps for a shard's buffer
	dropped *metric.Counter

	wake   chan struct{} // there is something
	urgent chan struct{} // a buffer is half full
	reopen chan chan error
	quit   chan struct{}
	done   chan struct{}
	closed atomic.Bool

	out  output // of the writing goroutine, but for out.file's deadline
	torn bool   // the output ends in a part of a line
}

// shard is the buffer of the processors that share a stripe.
type shard struct {
	mu  sync.Mutex
	buf []byte
	_   [96]byte
}

// gather is how long lines wait for others to be written with them: at full load fifty system calls a second, and a
// log that whoever follows it sees grow at once.
const gather = 20 * time.Millisecond

// OpenWriter opens the output and starts the goroutine that writes to it, which Close ends.
func OpenWriter(o WriterOptions) (*Writer, error) {
	if o.Buffer <= 0 {
		o.Buffer = 4 << 20
	}
	w := &Writer{
		o: o, dropped: metric.NewCounter(), shards: make([]shard, shardCount(o.Ordered)),
		wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1), reopen: make(chan chan error), quit: make(chan struct{}), done: make(chan struct{}),
	}
	each := o.Buffer / len(w.shards)
	for i := range w.shards {
		w.shards[i].buf = make([]byte, 0, each)
	}
	w.spare = make([]byte, 0, each)
	if err := w.out.open(&o); err != nil {
		return nil, fmt.Errorf("open log %s: %w", o.Output, err)
	}
	go w.run()
	return w, nil
}

// shardCount is small: a lock is held for the time of copying a line, so a few locks keep many processors apart.
func shardCount(ordered bool) int {
	if ordered {
		return 1
	}
	return min(8, metric.Stripes())
}

// Write takes one line, its line break included, and copies it. It never fails and never waits for the output; a line that
// has no room is dropped and counted, and so is every line after Close.
func (w *Writer) Write(line []byte) (int, error) {
	s := &w.shards[metric.Stripe()&(len(w.shards)-1)]
	s.mu.Lock()
	before := len(s.buf)
	if w.closed.Load() || before+len(line) > cap(s.buf) {
		s.mu.Unlock()
		w.dropped.Inc()
		return len(line), nil
	}
	s.buf = append(s.buf, line...)
	half := cap(s.buf) / 2
	s.mu.Unlock()
	// Waking a goroutine costs more than the line did: once when there is something, once when it becomes urgent.
	if before == 0 {
		signal(w.wake)
	}
	if before < half && before+len(line) >= half {
		signal(w.urgent)
	}
	return len(line), nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Dropped is the number of lines that were not written.
func (w *Writer) Dropped() uint64 { return w.dropped.Value() }

// Reopen opens the output's file anew, so that one that was renamed by a log rotation is let go. If that fails, lines go on
// to the old one. It waits until the write under way is done; lines do not.
func (w *Writer) Reopen() error {
	if w.o.To != nil || w.o.Output == "stdout" || w.o.Output == "stderr" {
		return nil
	}
	answer := make(chan error, 1)
	select {
	case w.reopen <- answer:
		return <-answer
	case <-w.done:
		return os.ErrClosed
	}
}

// Close writes what is there, for at most the given time, and ends the writer. Lines that could not be written in time
// are counted as dropped. If the output is blocked and is nothing that a deadline works on (a terminal, a socket that
// was handed over as stdout), the goroutine stays until it is unblocked; Close returns all the same and reports it.
func (w *Writer) Close(within time.Duration) error {
	if w.closed.Swap(true) {
		return nil
	}
	w.out.deadline(time.Now().Add(within))
	close(w.quit)
	timer := time.NewTimer(within + gather)
	defer timer.Stop()
	select {
	case <-w.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("close log %s: output blocked for %v", w.o.Output, within)
	}
}

func (w *Writer) run() {
	defer close(w.done)
	defer w.out.close()
	timer := time.NewTimer(gather)
	timer.Stop()
	for {
		select {
		case <-w.wake:
			timer.Reset(gather)
			select {
			case <-timer.C:
			case <-w.urgent:
			case <-w.quit:
			}
			timer.Stop()
			w.flush()
		case <-w.urgent:
			w.flush()
		case answer := <-w.reopen:
			w.flush()
			answer <- w.out.reopen(&w.o)
		case <-w.quit:
			w.flush()
			return
		}
	}
}

func (w *Writer) flush() {
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		full := s.buf
		s.buf = w.spare[:0]
		s.mu.Unlock()
		w.put(full)
		w.spare = full
	}
}

var lineBreak = []byte{'\n'}

// put writes lines; those that it could not are counted and gone, since more are coming.
func (w *Writer) put(lines []byte) {
	if len(lines) == 0 {
		return
	}
	if w.torn {
		// A full disk cut a line in two: what follows must not grow onto its first half.
		if _, err := w.out.w.Write(lineBreak); err != nil {
			w.dropped.Add(countLines(lines))
			return
		}
		w.torn = false
	}
	n, err := w.out.w.Write(lines)
	if err == nil && n == len(lines) {
		return
	}
	n = max(0, min(n, len(lines)))
	w.torn = n > 0 && lines[n-1] != '\n'
	w.dropped.Add(countLines(lines[n:]))
}

func countLines(b []byte) (n uint64) {
	for _, c := range b {
		if c == '\n' {
			n++
		}
	}
	return n
}

// output is what a Writer writes to.
type output struct {
	w    io.Writer
	mu   sync.Mutex // of file: Close sets a deadline on it from outside
	file *os.File
	last time.Time // a deadline that also holds for a file opened later
}

func (o *output) open(opts *WriterOptions) error {
	if opts.To != nil {
		o.w = opts.To
		return nil
	}
	var f *os.File
	var err error
	switch opts.Output {
	case "stdout":
		f, err = duplicate(os.Stdout)
	case "stderr":
		f, err = duplicate(os.Stderr)
	case "":
		err = errors.New("no name")
	default:
		f, err = os.OpenFile(opts.Output, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	}
	if err != nil {
		return err
	}
	o.mu.Lock()
	old := o.file
	o.w, o.file = f, f
	if !o.last.IsZero() {
		f.SetWriteDeadline(o.last)
	}
	o.mu.Unlock()
	if old != nil {
		old.Close()
	}
	return nil
}

func (o *output) reopen(opts *WriterOptions) error {
	if err := o.open(opts); err != nil {
		return fmt.Errorf("reopen log %s: %w", opts.Output, err)
	}
	return nil
}

// deadline makes a blocked write end then, where the file is one that can: pipes can, regular files need not.
func (o *output) deadline(t time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = t
	if o.file != nil {
		o.file.SetWriteDeadline(t)
	}
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil {
		o.file.Close()
	}
}
