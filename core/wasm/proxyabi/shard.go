package proxyabi

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
)

// shard is one instance of a VM's module with all its contexts. mu is held by whoever makes a guest call, during the call and
// no longer; it guards every field below it, and the fields of roots and streams that say so.
type shard struct {
	vm     *VM
	canary bool    // made to be tried before the VM is accepted: it reaches nothing outside
	shared *Shared // the VM's; a canary's own

	mu       sync.Mutex
	in       *wasm.Instance
	fn       exports
	stack    [8]uint64
	grant    [1]uint64 // of the allocator, which is called from within a call
	roots    []*root
	scopes   scopes
	streams  atomic.Int32 // open ones; any goroutine reads it
	size     atomic.Int64 // bytes of its memory when last looked at; −1: freed. Any goroutine reads it
	last     uint32       // the id given last
	eff      *scope       // what host functions act for; nil: nothing, while a start function runs
	entered  *half        // the half of a stream whose own goroutine makes the call; nil: another makes it
	launched bool         // proxy_on_vm_start has been called, or need not be
	starting bool         // the call is proxy_on_vm_start
	final    *stream      // whose last calls are made: its maps can be read, and no more
	message  *message
	out      errands
	dead     error // why no call is made any more; nil: alive
	placed   bool  // it is, or was, one that requests are given to
	worn     bool  // the guest asks to be replaced
	retired  bool  // another has taken its place: it ends with its last stream
	scratch  []byte
	said     string    // the last warning or error that the guest of a canary has logged
	wakes    []*stream // whose sleepers are woken after the call
	number   [20]byte  // a number as text
	granting bool      // the guest's allocator runs: nothing of a stream is to be had
	free     *stream
	ties
}

// message is what has come to the callback under way: the answer of a call, or a gRPC message. Guests read it by maps 4 to 7
// and buffers 4, 5 and 8.
type message struct {
	head    *exchange.Header // nil: none
	trailer *exchange.Header
	status  int // of an HTTP answer: stands as :status before head; 0: none
	body    []byte
	code    uint32 // for proxy_get_status
	text    []byte
}

// enter calls a guest function for sc. sh.mu is held, and sh is alive. It gives the function's result, 0 if it has none. An
// error is a trap: the shard is dead then, and whoever is parked on it has been woken.
func (sh *shard) enter(sc *scope, fn *wasm.Func, budget time.Duration, args ...uint64) (uint32, error) {
	before, eff := sh.in.CPU(), sh.eff
	sh.eff = sc
	sh.stack[0] = 0
	copy(sh.stack[:], args)
	err := sh.in.Call(fn, budget, sh.stack[:])
	sh.eff = eff
	sh.rouse()
	cpu := sh.in.CPU() - before
	sc.root.plugin.phases.Observe(abi.Phase(fn.Tag), cpu)
	if sc.stream != nil {
		sc.stream.cpu += cpu
	}
	if err != nil {
		sh.die(sc, err)
		return 0, err
	}
	if fn.Results() == 0 {
		return 0, nil
	}
	return uint32(sh.stack[0]), nil
}

// add gives a scope its id and makes it known.
func (sh *shard) add(sc *scope) {
	for {
		sh.last++
		if sh.last != 0 && sh.scopes.get(sh.last) == nil {
			break
		}
	}
	sc.id = sh.last
	sh.scopes.add(sc)
}

// u32 takes an argument of a host function for what it is.
func u32(v uint64) uint32 { return uint32(v) }

// read gives a view of guest memory. A length of 0 needs no valid pointer.
func (sh *shard) read(ptr, n uint64) ([]byte, bool) {
	if u32(n) == 0 {
		return nil, true
	}
	return sh.in.Memory().Read(u32(ptr), u32(n))
}

// put32 and put64 write a result of a host function into guest memory.
func (sh *shard) put32(ptr uint64, v uint32) status {
	if !sh.in.Memory().PutUint32(u32(ptr), v) {
		return statusInvalidMemory
	}
	return statusOK
}

func (sh *shard) put64(ptr uint64, v uint64) status {
	if !sh.in.Memory().PutUint64(u32(ptr), v) {
		return statusInvalidMemory
	}
	return statusOK
}

// give hands a copy of data to the guest: in memory that the guest's allocator gives, whose place and length are written to
// outPtr and outLen. Nothing at all is place 0 and length 0.
func (sh *shard) give(outPtr, outLen uint64, data []byte) status {
	dst, st := sh.reserve(outPtr, outLen, len(data))
	copy(dst, data)
	return st
}

// reserve is give for data that the caller writes into dst itself, at once.
func (sh *shard) reserve(outPtr, outLen uint64, n int) (dst []byte, st status) {
	mem := sh.in.Memory()
	if _, ok := mem.Uint32(u32(outPtr)); !ok {
		return nil, statusInvalidMemory
	}
	if _, ok := mem.Uint32(u32(outLen)); !ok {
		return nil, statusInvalidMemory
	}
	var ptr uint32
	if n > 0 {
		if n > maxGiven || sh.fn.alloc == nil {
			return nil, statusInternalFailure
		}
		before := sh.granting
		sh.grant[0], sh.granting = uint64(n), true
		err := sh.in.Call(sh.fn.alloc, 0, sh.grant[:])
		if sh.granting = before; err != nil {
			panic(err) // the guest has trapped in its allocator
		}
		ptr = uint32(sh.grant[0])
		var ok bool
		if dst, ok = mem.Read(ptr, uint32(n)); !ok || ptr == 0 {
			return nil, statusInvalidMemory
		}
	}
	mem.PutUint32(u32(outPtr), ptr)
	mem.PutUint32(u32(outLen), uint32(n))
	return dst, statusOK
}

// maxGiven is the most bytes that one host function gives a guest.
const maxGiven = 64 << 20

// stream of the effective context; nil if that is a root's, or none.
func (sh *shard) stream() *stream {
	if sh.eff == nil {
		return nil
	}
	return sh.eff.stream
}

// root of the effective context; nil if there is none.
func (sh *shard) root() *root {
	if sh.eff == nil {
		return nil
	}
	return sh.eff.root
}

// journal is the log of the plugin that the call under way is for.
func (sh *shard) journal() *abi.Journal {
	if r := sh.root(); r != nil {
		return r.plugin.journal
	}
	return sh.vm.journal
}

// gone reports whether its instance has been closed. Any goroutine may call.
func (sh *shard) gone() bool { return sh.size.Load() < 0 }

// idle reports whether no stream is open.
func (sh *shard) idle() bool { return sh.streams.Load() == 0 }
