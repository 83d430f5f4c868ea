package meter

// labelsMost caps the labels of one br_table.
const labelsMost = 1 << 16

// effortAll is how many times the effort for one function all of them may take.
const effortAll = 64

// effort estimates what compiling a function takes, in steps of about 0.3 µs and 100 bytes: what was measured of the
// engine's compiler on a machine of today. A compiler to static single assignment spends it on
//
//   - instructions, of which some become dozens,
//   - values that calls and branches pass: a call of two bytes may pass thousands,
//   - blocks, each of which knows every value that lives there,
//   - and walks up the tree of blocks from each of them, which takes time but no memory.
type effort struct {
	locals int64
	instrs int64
	live   int64 // locals and operands of each block
	blocks int64
	labels int64 // of branch tables
}

// block counts a basic block that starts with that many operands.
func (e *effort) block(height int32) {
	e.blocks++
	e.live += e.locals + int64(height)
}

func (e *effort) instr(in *instr, height int32) {
	e.instrs += in.weight()
	switch in.op {
	case opLoop, opBrIf:
		e.block(height)
	case opIf:
		e.block(height)
		e.block(height)
	case opCall, opCallInd:
		// All that lives across a call is spilled and loaded again.
		e.live += (e.locals + int64(height)) / 64
	case opBrTable:
		e.labels += int64(in.labels)
	}
}

// step is what takes memory.
func (e *effort) step() int64 { return e.instrs + e.live }

// walk is what takes time only.
func (e *effort) walk() int64 { return e.blocks * (e.blocks + e.labels) / 16 }

// valueWeight is what passing a value on costs.
const valueWeight = 4

// weight is the share of an instruction in its function's effort.
func (in *instr) weight() int64 {
	switch op := in.op; {
	case op >= opBlock && op <= opLoop:
		return 1 + valueWeight*int64(in.pop+in.push)
	case op == opBr, op == opBrIf:
		return 2 + valueWeight*in.passed
	case op == opBrTable:
		return 30*int64(in.labels) + valueWeight*in.passed
	case op == opCall:
		return 10 + valueWeight*int64(in.pop+in.push)
	case op == opCallInd:
		return 80 + valueWeight*int64(in.pop+in.push)
	case op >= 0x28 && op <= 0x3e, op == 0x25, op == 0x26: // loads, stores, tables
		return 20
	case op >= 0x6d && op <= 0x70, op >= 0x7f && op <= 0x82: // integer division
		return 25
	case op >= 0xa8 && op <= 0xb1, op >= 0xfc00 && op <= 0xfc07: // conversions
		return 40
	case op >= 0x8b && op <= 0xa6: // floating point
		return 10
	case op >= miscMemoryInit && op <= miscTableFill, op == opMemoryGrow, op == opRefFunc:
		return 20
	case op >= 0xfd00:
		return 4
	}
	return 1
}
