package meter

// function writes the code of one function.
//
// A function that calls others takes its frame off the depth on entry and puts the depth back at its only way out: its
// body stands in a block of its own, so that every branch to the function's label and every return lands in front of
// that. It puts back the value it found instead of adding its frame, since loads and stores of one global that wait for
// each other are what a short function would spend its time on. A trap leaves the depth as it is; the instance is not
// used again.
type function struct {
	w       *rewriter
	out     *code
	body    *body
	scratch uint32 // an i64 local, and the next one
	t       funcType
	counted bool
}

func (f *function) emit(start, end int) {
	b, out, w := f.body, f.out, f.w
	f.counted = (b.calls || b.frame > leafFrame) && !w.o.Unmetered
	pos, edits, charges := start, b.edits, b.charges
	if w.o.Unmetered {
		charges = nil
	}
	if f.counted {
		f.enter(charges[0].amount)
		charges = charges[1:]
	}
	for len(edits) > 0 || len(charges) > 0 {
		if len(charges) > 0 && (len(edits) == 0 || charges[0].at <= edits[0].at) {
			out.b = append(out.b, w.m.b[pos:charges[0].at]...)
			pos = charges[0].at
			if charges[0].quiet {
				out.gget(w.fuel()).i64(charges[0].amount).op(opI64Sub).gset(w.fuel())
			} else {
				f.lower(charges[0].amount)
				f.callBelowZero()
			}
			charges = charges[1:]
			continue
		}
		in := &edits[0]
		out.b = append(out.b, w.m.b[pos:in.at]...)
		pos = in.end
		f.replace(in)
		edits = edits[1:]
	}
	out.b = append(out.b, w.m.b[pos:end]...)
	if f.counted {
		out.get(f.scratch + 1).gset(w.depth()).op(opEnd)
	}
}

func (f *function) enter(amount int64) {
	out, w := f.out, f.w
	f.lower(amount)
	out.gget(w.depth()).tee(f.scratch + 1).i64(f.body.frame).op(opI64Sub).tee(f.scratch).gset(w.depth())
	// One test for both: the sign of either is the sign of the two or-ed.
	out.get(f.scratch).op(opI64Or)
	f.callBelowZero()
	out.op(opBlock)
	switch len(f.t.results) {
	case 0:
		out.op(0x40)
	case 1:
		out.op(f.t.results[0])
	default:
		out.signed(int64(w.typeIndex(funcType{results: f.t.results})))
	}
}

// lower takes amount off the fuel and leaves what remains on the operand stack.
func (f *function) lower(amount int64) {
	f.out.gget(f.w.fuel()).i64(amount).op(opI64Sub).tee(f.scratch).gset(f.w.fuel()).get(f.scratch)
}

// callBelowZero calls the host if the i64 on the operand stack is below zero.
func (f *function) callBelowZero() { f.w.callBelowZero(f.out) }

func (f *function) replace(in *instr) {
	out, w := f.out, f.w
	switch in.op {
	case opCall, opRefFunc:
		out.plain(in.op, w.m.shifted(in.x, 1))
	case opReturn:
		if f.counted {
			out.op(opBr).u32(in.x)
			return
		}
		out.op(opReturn)
	case miscDataDrop, miscElemDrop:
		out.plain(in.op, in.x)
		lens := w.dataLen
		if in.op == miscElemDrop {
			lens = w.elemLen
		}
		if g, ok := lens[in.x]; ok {
			out.i32(0).gset(g)
		}
	default:
		if w.o.Unmetered {
			out.bulk(helperKey{in.op, in.x, in.y})
			return
		}
		out.call(w.helper(in))
	}
}
