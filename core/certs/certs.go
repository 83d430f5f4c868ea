// Package certs keeps what the server's side of TLS is made of: pairs of certificate and key chosen by SNI (RFC 6066 §3),
// the roots that clients' certificates are verified against, the keys of session tickets, and certificates that a
// certificate authority issues by ACME (RFC 8555). All of it comes from files, is shared by the plans that name it, and
// changes under a running listener: no reload is needed, and no handshake fails meanwhile.
//
// Files are looked at once a second, all by one goroutine, and read when their metadata has changed. Notifications of the
// system would be faster by that second, and blind on network file systems and where a link far above the file is
// exchanged, which is how Kubernetes replaces a mounted secret.
package certs

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/metric"
)

// Options of a Registry.
type Options struct {
	Log     zerolog.Logger
	Metrics *metric.Registry // gets the families of this package; nil: none
	Every   time.Duration    // between two looks at the files; 0: a second
}

// Registry holds the parts that plans share. They are found again by what they mean, which is their files, and dropped
// when nobody has them open any more. All methods may be called concurrently.
type Registry struct {
	log      zerolog.Logger
	expiry   metric.Callbacks
	failures metric.Counters

	mu        sync.Mutex
	shelf     map[string]*shelved
	listeners map[*Listener]struct{}

	challenges challenges

	again      chan struct{} // asks for a look now
	stop, done chan struct{}
}

// part is something that files may change. Its methods are called by the registry only, poll by its goroutine.
type part interface {
	// poll looks at the files and reports whether what listeners use has changed.
	poll(now time.Time) bool
	close()
}

type shelved struct {
	part part
	refs int
}

// NewRegistry starts an empty one; Close ends its goroutine.
func NewRegistry(o Options) *Registry {
	if o.Every == 0 {
		o.Every = time.Second
	}
	if o.Metrics == nil {
		o.Metrics = metric.NewRegistry()
	}
	r := &Registry{
		log:       o.Log,
		expiry:    o.Metrics.Gauges("weir_certificate_not_after_timestamp_seconds", "When a certificate ends; 0 while there is none.", "certificate"),
		failures:  o.Metrics.Counters("weir_certificate_errors_total", "Changes of a file that were not taken because something was wrong with them.", "file"),
		shelf:     map[string]*shelved{},
		listeners: map[*Listener]struct{}{},
		again:     make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go r.watch(o.Every)
	return r
}

// Close ends the registry. What it gave has been closed before.
func (r *Registry) Close() {
	close(r.stop)
	<-r.done
}

func (r *Registry) watch(every time.Duration) {
	defer close(r.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-r.again:
		case <-tick.C:
		}
		r.poll(time.Now())
	}
}

// poll looks at every part, and has the listeners take what has changed. Files are read without the registry's lock: one
// on a file system that hangs holds up no reload.
func (r *Registry) poll(now time.Time) {
	r.mu.Lock()
	all := make([]part, 0, len(r.shelf))
	for _, s := range r.shelf {
		all = append(all, s.part)
	}
	r.mu.Unlock()
	changed := false
	for _, p := range all {
		changed = p.poll(now) || changed
	}
	if changed {
		r.refresh()
	}
}

// refresh has every listener take the parts as they are now.
func (r *Registry) refresh() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range r.listeners {
		l.refresh()
	}
}

// look asks for a look at the files before its time.
func (r *Registry) look() {
	select {
	case r.again <- struct{}{}:
	default:
	}
}

// open gives the part at key, made by build if nobody has it open.
func open[P part](r *Registry, key string, build func() (P, error)) (p P, existed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.shelf[key]; s != nil {
		s.refs++
		return s.part.(P), true, nil
	}
	if p, err = build(); err != nil {
		return p, false, err
	}
	r.shelf[key] = &shelved{p, 1}
	return p, false, nil
}

// drop gives back what open gave; the last one closes it.
func (r *Registry) drop(key string) {
	r.mu.Lock()
	s := r.shelf[key]
	s.refs--
	last := s.refs == 0
	if last {
		delete(r.shelf, key)
	}
	r.mu.Unlock()
	if last {
		s.part.close()
	}
}

// trouble is what is wrong with a file that is watched, told once.
type trouble struct {
	text  atomic.Pointer[string]
	count *metric.Counter
}

func (t *trouble) set(err error) {
	text := err.Error()
	t.text.Store(&text)
	t.count.Inc()
}

func (t *trouble) clear() { t.text.Store(nil) }

// String is the trouble there is, "" for none.
func (t *trouble) String() string {
	if s := t.text.Load(); s != nil {
		return *s
	}
	return ""
}

var errEmpty = errors.New("no certificate in it")
