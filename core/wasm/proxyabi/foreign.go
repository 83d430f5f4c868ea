package proxyabi

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
)

var foreignFunctions = []wasm.HostFunc{
	function("proxy_call_foreign_function", "iiiiii", callForeign),
}

// foreign are the functions that guests call by name: Envoy's, and two of Higress'. Each gets its argument as a view of guest
// memory, and gives a result that may lie in sh.scratch. A nil one is known, and not there.
var foreign = []struct {
	name string
	call func(sh *shard, arg []byte) ([]byte, status)
}{
	{"compress", (*shard).compress},
	{"uncompress", (*shard).uncompress},
	{"clear_route_cache", func(sh *shard, _ []byte) ([]byte, status) { sh.reroute(); return nil, statusOK }},
	{"set_envoy_filter_state", (*shard).setFilterState},
	{"declare_property", accept}, // weir needs no declaration
	{"get_log_level", func(sh *shard, _ []byte) ([]byte, status) {
		return binary.LittleEndian.AppendUint32(sh.number[:0], sh.level()), statusOK
	}},
	{"set_global_max_requests_per_io_cycle", accept}, // weir has no such cycle
	{"sign", nil},
	{"verify_signature", nil},
	{"expr_create", nil},
	{"expr_evaluate", nil},
	{"expr_delete", nil},
	{"inject_encoded_data_to_filter_chain_on_header", nil},
	{"resolve_lua", nil},
}

func accept(*shard, []byte) ([]byte, status) { return nil, statusOK }

// Foreign lists the foreign functions that other hosts have: those that are there, and those that are not, which guests are told
// when they call one.
func Foreign() (there, missing []string) {
	for _, f := range foreign {
		if f.call != nil {
			there = append(there, f.name)
		} else {
			missing = append(missing, f.name)
		}
	}
	slices.Sort(there)
	slices.Sort(missing)
	return there, missing
}

// callForeign calls a function by its name. A guest that wants no result gives no place for it.
func callForeign(sh *shard, a []uint64) status {
	name, ok := sh.read(a[0], a[1])
	arg, good := sh.read(a[2], a[3])
	if !ok || !good {
		return statusInvalidMemory
	}
	if !sh.writable(a[4]) || !sh.writable(a[5]) {
		return statusInvalidMemory
	}
	if sh.granting {
		return statusInternalFailure
	}
	for i := range foreign {
		f := &foreign[i]
		if string(name) != f.name || f.call == nil {
			continue
		}
		result, st := f.call(sh, arg)
		if st != statusOK || u32(a[4]) == 0 || u32(a[5]) == 0 {
			return st
		}
		st = sh.give(a[4], a[5], result)
		if cap(sh.scratch) > pool.Large {
			sh.scratch = nil
		}
		return st
	}
	return statusNotFound
}

// writable reports whether a number can be written where a guest wants it; at 0 it wants none.
func (sh *shard) writable(ptr uint64) bool {
	_, ok := sh.in.Memory().Uint32(u32(ptr))
	return ok || u32(ptr) == 0
}

// What a byte costs, at most, on the slow side. It is charged ahead, and the size of what one call works on is such that it
// does not exceed the budget that the guest has: nothing stops the host once it is at it.
const (
	costIn    = 20 * time.Nanosecond // to compress one
	costOut   = 10 * time.Nanosecond // to give an uncompressed one
	leastWork = 64 << 10             // bytes that may be worked on whatever the budget
)

func (sh *shard) most(cost time.Duration) int {
	return int(min(max(sh.vm.o.CPU/cost, leastWork), maxGiven))
}

// compress gives a zlib stream (RFC 1950) of what it is given.
func (sh *shard) compress(arg []byte) ([]byte, status) {
	if len(arg) > sh.most(costIn) {
		return nil, statusInternalFailure
	}
	sh.in.Burn(costIn*time.Duration(len(arg)) + time.Microsecond)
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	d.out = sh.scratch[:0]
	d.w.Reset(d)
	if _, err := d.w.Write(arg); err != nil {
		return nil, statusInternalFailure
	}
	if err := d.w.Close(); err != nil {
		return nil, statusInternalFailure
	}
	sh.scratch, d.out = d.out, nil
	return sh.scratch, statusOK
}

// deflater is a zlib writer for use again and again.
type deflater struct {
	w   *zlib.Writer
	out []byte
}

// Write implements io.Writer.
func (d *deflater) Write(p []byte) (int, error) {
	d.out = append(d.out, p...)
	return len(p), nil
}

var deflaters = sync.Pool{New: func() any {
	d := &deflater{}
	d.w, _ = zlib.NewWriterLevel(d, zlib.BestSpeed) // the level is a valid one
	return d
}}

// uncompress is the reverse. What would give too much is a failure.
func (sh *shard) uncompress(arg []byte) ([]byte, status) {
	most := sh.most(costOut)
	if len(arg) > most {
		return nil, statusInternalFailure
	}
	f := inflaters.Get().(*inflater)
	defer inflaters.Put(f)
	out, err := f.all(sh.scratch[:0], arg, most)
	f.in.Reset(nil)
	sh.scratch = out
	sh.in.Burn(costOut*time.Duration(len(arg)+len(out)) + time.Microsecond)
	switch {
	case err == errMuch:
		return nil, statusInternalFailure
	case err != nil:
		return nil, statusSerialization
	}
	return out, statusOK
}

var errMuch = errors.New("more than may be given")

// inflater is a zlib reader for use again and again.
type inflater struct {
	r  io.ReadCloser
	in bytes.Reader
}

// all appends what a stream holds to dst, up to most bytes and the first beyond.
func (f *inflater) all(dst, stream []byte, most int) ([]byte, error) {
	f.in.Reset(stream)
	err := f.begin()
	for err == nil {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, max(512, len(dst)))
		}
		var n int
		n, err = f.r.Read(dst[len(dst):min(cap(dst), most+1)])
		if dst = dst[:len(dst)+n]; len(dst) > most {
			return dst[:0], errMuch
		}
	}
	if err == io.EOF {
		err = nil
	}
	return dst, err
}

func (f *inflater) begin() (err error) {
	if f.r == nil {
		f.r, err = zlib.NewReader(&f.in)
		return err
	}
	return f.r.(zlib.Resetter).Reset(&f.in, nil)
}

var inflaters = sync.Pool{New: func() any { return &inflater{} }}

// Fields of Envoy's SetEnvoyFilterStateArguments. How long the state lasts is its third: here it is always the exchange's.
const (
	stateName  = 1
	stateValue = 2
)

// setFilterState keeps a value with the exchange, under a name without the prefix that properties have.
func (sh *shard) setFilterState(arg []byte) ([]byte, status) {
	if len(arg) > 2*maxName {
		return nil, statusInternalFailure
	}
	var name, value []byte
	ok := eachField(arg, func(n protowire.Number, v []byte, _ uint64) bool {
		switch n {
		case stateName:
			name = v
		case stateValue:
			value = v
		}
		return true
	})
	if !ok || len(name) == 0 || name[0] == ':' {
		return nil, statusBadArgument
	}
	st := sh.stream()
	if st == nil {
		return nil, statusNotFound
	}
	if !st.x.Notes.Set(name, value) {
		sh.refuse(abi.ViewString(name), "a property that cannot be kept")
		return nil, statusInternalFailure
	}
	return nil, statusOK
}
