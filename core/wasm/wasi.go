package wasm

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// WASI error numbers.
const (
	wasiBadf    = 8
	wasiFault   = 21
	wasiInval   = 28
	wasiNoent   = 44
	wasiNosys   = 52
	wasiNotsup  = 58
	wasiIovMost = 1024
	// wasiMost is the most random bytes a call may ask for, and the most it writes.
	wasiMost = 64 << 10
	// wasiLinesMost is about the most lines a call writes: each costs the log more than its bytes do.
	wasiLinesMost = 1024
)

// What host work costs, from below: a guest that makes the host work is looked at in time, and one that does so within
// its budget never pays twice.
const (
	burnCall   = 20 * time.Nanosecond
	burnClock  = 40 * time.Nanosecond
	burnString = 20 * time.Nanosecond
	burnLine   = 100 * time.Nanosecond
)

// wasiFunc returns a function of WASI preview 1, under its own name or the older wasi_unstable, whose functions have the
// same types. What differs there is the order of fd_seek's origins and the layout of file attributes, which no function
// here comes to, and the layout of subscriptions, which poll_oneoff knows.
//
// A guest sees its environment and arguments, clocks, random bytes and two log streams; all else answers an error number.
// It is our own rather than wazero's because what a guest can make the host do must be bounded: there is no file table
// here to attack, nothing sleeps, and every call's work is bounded and charged.
func wasiFunc(module, name string) (HostFunc, bool) {
	if module != "wasi_snapshot_preview1" && module != "wasi_unstable" {
		return HostFunc{}, false
	}
	for i := range wasi {
		w := &wasi[i]
		if w.name != name {
			continue
		}
		h := HostFunc{Module: module, Name: name}
		for _, p := range w.params {
			t := api.ValueTypeI32
			if p == 'I' {
				t = api.ValueTypeI64
			}
			h.Params = append(h.Params, t)
		}
		if name == "proc_exit" {
			h.Fn = wasiExit
			return h, true
		}
		h.Results = []api.ValueType{api.ValueTypeI32}
		fn, errno := w.fn, w.errno
		if name == "poll_oneoff" && module == "wasi_unstable" {
			fn = wasiPollUnstable
		}
		h.Fn = func(ctx context.Context, _ api.Module, s []uint64) {
			if fn == nil {
				s[0] = uint64(errno)
				return
			}
			s[0] = uint64(fn(FromContext(ctx), s))
		}
		return h, true
	}
	return HostFunc{}, false
}

func wasiExit(_ context.Context, _ api.Module, s []uint64) { panic(Exit{Code: uint32(s[0])}) }

// wasiSizes writes the count and the total size of strings.
func wasiSizes(in *Instance, list []string, s []uint64) uint32 {
	n := 0
	for _, v := range list {
		n += len(v) + 1
	}
	in.Burn(burnCall)
	if !in.mem.PutUint32(uint32(s[0]), uint32(len(list))) || !in.mem.PutUint32(uint32(s[1]), uint32(n)) {
		return wasiFault
	}
	return 0
}

// wasiStrings writes pointers to strings and the strings, each with a NUL.
func wasiStrings(in *Instance, list []string, s []uint64) uint32 {
	ptr, buf := uint32(s[0]), uint32(s[1])
	in.Burn(time.Duration(len(list)) * burnString)
	for _, v := range list {
		v += "\x00"
		if !in.mem.PutUint32(ptr, buf) || !in.mem.WriteString(buf, v) {
			return wasiFault
		}
		ptr += 4
		buf += uint32(len(v))
	}
	return 0
}

var processStart = time.Now()

func wasiClock(in *Instance, s []uint64) uint32 {
	var ns int64
	in.Burn(burnClock)
	switch uint32(s[0]) {
	case 0:
		ns = time.Now().UnixNano()
	case 1:
		ns = int64(time.Since(processStart)) + 1
	default:
		return wasiNotsup
	}
	if !in.mem.PutUint64(uint32(s[2]), uint64(ns)) {
		return wasiFault
	}
	return 0
}

func wasiClockRes(in *Instance, s []uint64) uint32 {
	if uint32(s[0]) > 1 {
		return wasiNotsup
	}
	if !in.mem.PutUint64(uint32(s[1]), 1) {
		return wasiFault
	}
	return 0
}

func wasiRandom(in *Instance, s []uint64) uint32 {
	if uint32(s[1]) > wasiMost {
		return wasiInval
	}
	p, ok := in.mem.Read(uint32(s[0]), uint32(s[1]))
	if !ok {
		return wasiFault
	}
	in.Burn(burnCall + time.Duration(len(p))/2)
	_, _ = rand.Read(p)
	return 0
}

func wasiWrite(in *Instance, s []uint64) uint32 {
	fd, iovs, n := uint32(s[0]), uint32(s[1]), uint32(s[2])
	if fd != 1 && fd != 2 {
		return wasiBadf
	}
	if n > wasiIovMost {
		return wasiInval
	}
	list, ok := in.mem.Read(iovs, 8*n)
	if !ok {
		return wasiFault
	}
	var done, lines int
	for ; len(list) > 0; list = list[8:] {
		p, ok := in.mem.Read(binary.LittleEndian.Uint32(list), binary.LittleEndian.Uint32(list[4:]))
		if !ok {
			return wasiFault
		}
		// A write may be short: what is over comes with the guest's next call.
		whole := len(p)
		p, n := firstLines(p[:min(len(p), wasiMost-done)], wasiLinesMost-lines)
		in.log[fd-1].write(in.m.o.Log, int(fd), p)
		done, lines = done+len(p), lines+n
		if len(p) < whole {
			break
		}
	}
	in.Burn(burnCall + time.Duration(lines)*burnLine + time.Duration(done)/8)
	if !in.mem.PutUint32(uint32(s[3]), uint32(done)) {
		return wasiFault
	}
	return 0
}

// firstLines is p up to its newline number most, and how many there are.
func firstLines(p []byte, most int) ([]byte, int) {
	end, n := 0, 0
	for ; n < most; n++ {
		i := bytes.IndexByte(p[end:], '\n')
		if i < 0 {
			return p, n
		}
		end += i + 1
	}
	return p[:end], n
}

// wasiFdstat says character device for the three standard streams.
func wasiFdstat(in *Instance, s []uint64) uint32 {
	if uint32(s[0]) > 2 {
		return wasiBadf
	}
	p, ok := in.mem.Read(uint32(s[1]), 24)
	if !ok {
		return wasiFault
	}
	clear(p)
	p[0] = 2
	p[8] = 1 << 6 // the right to write
	return 0
}

func wasiStd(in *Instance, s []uint64) uint32 {
	if uint32(s[0]) > 2 {
		return wasiBadf
	}
	return 0
}

func wasiYield(*Instance, []uint64) uint32 { return 0 }

// wasi lists all of preview 1: i is an i32, I an i64. Without fn a function answers errno.
var wasi = []struct {
	name, params string
	errno        uint32
	fn           func(*Instance, []uint64) uint32
}{
	{name: "args_get", params: "ii", fn: func(in *Instance, s []uint64) uint32 { return wasiStrings(in, in.m.o.Args, s) }},
	{name: "args_sizes_get", params: "ii", fn: func(in *Instance, s []uint64) uint32 { return wasiSizes(in, in.m.o.Args, s) }},
	{name: "environ_get", params: "ii", fn: func(in *Instance, s []uint64) uint32 { return wasiStrings(in, in.m.o.Env, s) }},
	{name: "environ_sizes_get", params: "ii", fn: func(in *Instance, s []uint64) uint32 { return wasiSizes(in, in.m.o.Env, s) }},
	{name: "clock_res_get", params: "ii", fn: wasiClockRes},
	{name: "clock_time_get", params: "iIi", fn: wasiClock},
	{name: "random_get", params: "ii", fn: wasiRandom},
	{name: "fd_write", params: "iiii", fn: wasiWrite},
	{name: "fd_fdstat_get", params: "ii", fn: wasiFdstat},
	{name: "fd_fdstat_set_flags", params: "ii", fn: wasiStd},
	{name: "fd_close", params: "i", fn: wasiStd},
	{name: "poll_oneoff", params: "iiii", fn: wasiPoll},
	{name: "sched_yield", params: "", fn: wasiYield},
	{name: "proc_exit", params: "i"},
	{name: "proc_raise", params: "i", errno: wasiNosys},
	{name: "fd_advise", params: "iIIi", errno: wasiBadf},
	{name: "fd_allocate", params: "iII", errno: wasiBadf},
	{name: "fd_datasync", params: "i", errno: wasiBadf},
	{name: "fd_fdstat_set_rights", params: "iII", errno: wasiBadf},
	{name: "fd_filestat_get", params: "ii", errno: wasiBadf},
	{name: "fd_filestat_set_size", params: "iI", errno: wasiBadf},
	{name: "fd_filestat_set_times", params: "iIIi", errno: wasiBadf},
	{name: "fd_pread", params: "iiiIi", errno: wasiBadf},
	{name: "fd_prestat_get", params: "ii", errno: wasiBadf},
	{name: "fd_prestat_dir_name", params: "iii", errno: wasiBadf},
	{name: "fd_pwrite", params: "iiiIi", errno: wasiBadf},
	{name: "fd_read", params: "iiii", errno: wasiNosys},
	{name: "fd_readdir", params: "iiiIi", errno: wasiBadf},
	{name: "fd_renumber", params: "ii", errno: wasiBadf},
	{name: "fd_seek", params: "iIii", errno: wasiNosys},
	{name: "fd_sync", params: "i", errno: wasiNosys},
	{name: "fd_tell", params: "ii", errno: wasiBadf},
	{name: "path_create_directory", params: "iii", errno: wasiNoent},
	{name: "path_filestat_get", params: "iiiii", errno: wasiNotsup},
	{name: "path_filestat_set_times", params: "iiiiIIi", errno: wasiNoent},
	{name: "path_link", params: "iiiiiii", errno: wasiNoent},
	{name: "path_open", params: "iiiiiIIii", errno: wasiNoent},
	{name: "path_readlink", params: "iiiiii", errno: wasiNoent},
	{name: "path_remove_directory", params: "iii", errno: wasiNoent},
	{name: "path_rename", params: "iiiiii", errno: wasiNoent},
	{name: "path_symlink", params: "iiiii", errno: wasiNoent},
	{name: "path_unlink_file", params: "iii", errno: wasiNoent},
	{name: "sock_accept", params: "iii", errno: wasiNotsup},
	{name: "sock_recv", params: "iiiiii", errno: wasiNotsup},
	{name: "sock_send", params: "iiiii", errno: wasiNotsup},
	{name: "sock_shutdown", params: "ii", errno: wasiNotsup},
}
