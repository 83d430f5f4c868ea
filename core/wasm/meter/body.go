package meter

import "sort"

const (
	// fold is how many fuel units of conditional code a charge point takes in before further branches pay for
	// themselves. It bounds the overcharge of a switch in a loop, and small loops keep one charge point.
	fold = 256
	// stride is the most straight-line fuel one charge covers, so that a huge basic block cannot run far ahead of the
	// clock.
	stride = 8192
	// quietMost is the most fuel of a function that is lowered without a look at what is left. It bounds what runs between
	// two looks, some 16 µs, since neither a loop nor a call goes without one.
	quietMost = 1 << 18
	// entry is what a charge costs by itself; with it not even an empty loop is free.
	entry = 12
	// nesting caps open blocks in a function.
	nesting = 1 << 15
	// leafFrame is the largest frame of a function without calls that goes uncounted: at most one such frame is on a
	// stack.
	leafFrame = 64 << 10
)

// charge is a place in a body where fuel is lowered, in front of the byte at offset at.
type charge struct {
	at     int
	amount int64
	cond   int64 // fuel of conditional code taken in
	quiet  bool  // lowers the fuel without a look at what is left: every way back here leads by a charge that looks
}

// frame is an open block of a body being looked at.
type frame struct {
	op     byte
	live   bool // code at its start is reachable
	from   int  // charge point that governs its start
	height int32
	pop    int32
	push   int32
	sets   int32 // local writes within
}

// body is what one pass over a function's code finds out.
type body struct {
	charges []charge
	edits   []instr // instructions to be replaced, in order
	calls   bool
	effort  effort
	frame   int64 // estimate of the native frame in bytes
}

// scan reads a whole body after its locals and finds its charge points: the function's entry, each loop header, and
// each branch whose code no charge point that surely ran before it has taken in.
type scan struct {
	c       *cursor
	s       scope
	body    body
	frames  []frame
	cur     int // governing charge point
	segAt   int // start of the segment being summed
	segCost int64
	segNew  bool // the segment has a charge point of its own already
	segHost bool // the segment may call the host, which may have burned much
	quiet   int64
	live    bool
	height  int32
	slots   frameSize
}

func scanBody(c *cursor, m *decoded, locals int, t funcType) (body, *Error) {
	sc := &scan{c: c, s: scope{m: m, locals: locals}, live: true}
	sc.slots.locals = int64(locals)
	sc.body.effort.locals = int64(locals)
	sc.s.frames = &sc.frames
	sc.frames = append(sc.frames, frame{op: opBlock, live: true, push: int32(len(t.results))})
	sc.point(c.pos)
	var in instr
	for len(sc.frames) > 0 && c.err == nil {
		sc.s.depth = len(sc.frames)
		c.next(&sc.s, &in)
		if c.err != nil {
			break
		}
		sc.step(&in)
	}
	if c.err == nil && c.pos != c.end {
		c.fail(c.pos, "function body has %d bytes left over", c.end-c.pos)
	}
	if c.err != nil {
		return body{}, c.err
	}
	b := sc.body
	for i := range b.charges {
		if !b.charges[i].quiet {
			b.effort.block(0)
			b.effort.block(0)
		}
	}
	sort.SliceStable(b.charges, func(i, j int) bool { return b.charges[i].at < b.charges[j].at })
	b.frame = sc.slots.bytes()
	return b, nil
}

// point opens a charge point that the code from at on must pass.
func (sc *scan) point(at int) {
	sc.body.charges = append(sc.body.charges, charge{at: at, amount: entry})
	sc.cur = len(sc.body.charges) - 1
	sc.segAt, sc.segCost, sc.segNew, sc.segHost = at, 0, true, false
}

// segment starts conditional code at offset at, governed by charge point from: the one that surely ran before it.
func (sc *scan) segment(at, from int) {
	sc.close()
	sc.cur, sc.segAt, sc.segCost, sc.segNew, sc.segHost, sc.live = from, at, 0, false, false, true
}

// close settles who pays for the segment that ends here.
func (sc *scan) close() {
	if !sc.live || sc.segCost == 0 {
		return
	}
	p := &sc.body.charges[sc.cur]
	switch {
	case sc.segNew:
		p.amount += sc.segCost
	case p.cond+sc.segCost <= fold:
		p.amount += sc.segCost
		p.cond += sc.segCost
	default:
		cost, host := sc.segCost, sc.segHost
		sc.point(sc.segAt)
		sc.body.charges[sc.cur].amount += cost
		if sc.quiet += cost; sc.quiet <= quietMost && !host {
			sc.body.charges[sc.cur].quiet = true
		}
	}
	sc.segCost = 0
}

func (sc *scan) step(in *instr) {
	if sc.live && sc.segCost >= stride {
		// Everything since segAt is settled; what follows surely runs after it.
		sc.close()
		sc.point(in.at)
	}
	if sc.live {
		sc.segCost += in.cost()
	}
	sc.body.effort.instr(in, sc.height)
	top := &sc.frames[len(sc.frames)-1]
	switch in.op {
	case opBlock, opLoop, opIf:
		sc.open(in)
		return
	case opElse:
		if top.op != opIf {
			sc.c.fail(in.at, "else without if")
			return
		}
		if top.live {
			sc.segment(in.end, top.from)
		}
		top.op, sc.live, sc.height = opElse, top.live, top.height+top.pop
		return
	case opEnd:
		sc.shut(in, top)
		return
	case opBrIf:
		sc.pop(1)
		if sc.live {
			sc.close()
			sc.segment(in.end, sc.cur)
		}
		return
	case opBr, opBrTable, opReturn, opUnreachable:
		sc.close()
		if in.op == opReturn {
			e := *in
			e.x = uint32(len(sc.frames) - 1)
			sc.body.edits = append(sc.body.edits, e)
		}
		sc.live = false
		return
	}
	sc.plain(in)
}

func (sc *scan) plain(in *instr) {
	switch in.op {
	case opCall, opCallInd:
		sc.body.calls = true
		if in.op == opCall {
			sc.body.edits = append(sc.body.edits, *in)
		}
		if in.op == opCallInd || int(in.x) < len(sc.s.m.importTypes) {
			sc.segHost = true
		}
		sc.slots.call(sc.height - in.pop)
	case opLocalSet, opLocalTee:
		sc.frames[len(sc.frames)-1].sets++
		sc.slots.sets++
	case opRefFunc, opMemoryGrow, miscMemoryInit, miscDataDrop, miscMemoryCopy, miscMemoryFill,
		miscTableInit, miscElemDrop, miscTableCopy, miscTableGrow, miscTableFill:
		sc.body.edits = append(sc.body.edits, *in)
		sc.slots.call(sc.height - in.pop)
	}
	if in.op >= 0xfd00 {
		sc.slots.wide = true
	}
	sc.pop(in.pop)
	sc.height += in.push
	if in.push > 0 {
		sc.slots.push(sc.height)
	}
}

func (sc *scan) pop(n int32) {
	sc.height -= n
	// The validator finds real underflow; here a height below the block's only means code that cannot run.
	if base := sc.frames[len(sc.frames)-1].height; sc.height < base {
		sc.height = base
	}
	sc.slots.low(sc.height)
}

func (sc *scan) open(in *instr) {
	if len(sc.frames) >= nesting {
		sc.c.fail(in.at, "blocks nested deeper than %d", nesting)
		return
	}
	if in.op == opIf {
		sc.pop(1)
	}
	sc.pop(in.pop)
	f := frame{op: byte(in.op), live: sc.live, height: sc.height, pop: in.pop, push: in.push}
	if sc.live && in.op != opBlock {
		sc.close()
	}
	f.from = sc.cur
	sc.frames = append(sc.frames, f)
	sc.height += in.pop
	switch in.op {
	case opLoop:
		if sc.live {
			sc.point(in.end)
		}
	case opIf:
		if sc.live {
			sc.segment(in.end, f.from)
		}
	}
}

func (sc *scan) shut(in *instr, top *frame) {
	if sc.live {
		sc.close()
	}
	f := *top
	sc.frames = sc.frames[:len(sc.frames)-1]
	sc.slots.merge(f.sets)
	sc.body.effort.block(sc.height)
	if len(sc.frames) == 0 {
		return
	}
	sc.frames[len(sc.frames)-1].sets += f.sets
	sc.height = f.height + f.push
	if f.live {
		sc.segment(in.end, f.from)
	}
	sc.live = f.live
}
