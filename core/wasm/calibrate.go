package wasm

import (
	"context"
	"errors"
	"runtime"
	"syscall"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm/asm"
	"github.com/weirproxy/weir/core/wasm/meter"
)

// calibrationLoop is a guest that loads, computes, stores and branches n times.
func calibrationLoop() []byte {
	var m asm.Module
	m.Memory(1, 1)
	f := m.Func(asm.T(asm.I32), asm.T(asm.I32), asm.T(asm.I32, asm.I32),
		asm.Loop(asm.None,
			asm.Get(1), asm.Const32(0xfff8), asm.And32, asm.Tee(2),
			asm.Get(2), asm.Load(0x28, 2, 0), asm.Get(1), asm.Add32, asm.Const32(7), asm.Mul32, asm.Load(0x36, 2, 0),
			asm.Get(1), asm.Const32(13), asm.Add32, asm.Set(1),
			asm.Get(2), asm.Const32(64), asm.LtU32, asm.If(asm.None, asm.Get(1), asm.Const32(3), asm.Add32, asm.Set(1)),
			asm.Get(0), asm.Const32(1), asm.Sub32, asm.Tee(0), asm.BrIf(0)),
		asm.Get(1))
	m.Export("run", 0, f)
	return m.Bytes()
}

// calibrate measures fuel per microsecond: the best of many short runs, since whatever disturbs a run makes it slower.
func calibrate() (int64, error) {
	ctx := context.Background()
	out, info, err := meter.Rewrite(calibrationLoop(), meter.Options{})
	if err != nil {
		return 0, err
	}
	c := &code{info: info}
	if err := c.open(out, nil, "", 2); err != nil {
		return 0, err
	}
	defer c.close()
	mod, err := c.runtime.InstantiateModule(ctx, c.compiled, plainConfig)
	if err != nil {
		return 0, err
	}
	fuel, _ := mod.ExportedGlobal(info.Fuel).(api.MutableGlobal)
	run := mod.ExportedFunction("run")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const (
		turns = 50_000
		full  = int64(1) << 40
	)
	var best int64
	var ts syscall.Timespec
	stack := make([]uint64, 1)
	for begin, i := time.Now(), 0; i < 5 || i < 50 && time.Since(begin) < 10*time.Millisecond; i++ {
		fuel.Set(uint64(full))
		stack[0] = turns
		t0, tid := threadClock(&ts)
		wall := time.Now()
		if err := run.CallWithStack(ctx, stack); err != nil {
			return 0, err
		}
		took := time.Since(wall).Nanoseconds()
		if t1, _ := threadClock(&ts); tid != 0 {
			took = t1 - t0
		}
		if took > 0 {
			best = max(best, (full-int64(fuel.Get()))*1000/took)
		}
	}
	if best == 0 {
		return 0, errors.New("clock stands still")
	}
	return best, nil
}
