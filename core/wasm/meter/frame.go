package meter

// frameSize estimates from above how much native stack a call of a function takes. The compiler gives every value that
// lives across a call, or that finds no register, a slot of its own and never shares slots; so what is counted is
// values: locals, every write to one, operands held while something is called, operands beyond the registers, and a
// new value for each local written where control flow joins.
type frameSize struct {
	locals int64
	sets   int64
	held   int64
	deep   int64
	merges int64
	lowest int32 // operand height not yet counted as held
	calls  int64
	wide   bool
}

const registers = 8

func (s *frameSize) call(held int32) {
	s.calls++
	if held > s.lowest {
		s.held += int64(held - s.lowest)
		s.lowest = held
	}
}

func (s *frameSize) low(height int32) {
	if height < s.lowest {
		s.lowest = height
	}
}

func (s *frameSize) push(height int32) {
	if height > registers {
		s.deep++
	}
}

func (s *frameSize) merge(sets int32) {
	s.merges += min(int64(sets), s.locals) + 2
}

func (s *frameSize) bytes() int64 {
	size := int64(8)
	if s.wide {
		size = 16
	}
	return 128 + size*(s.locals+s.sets+s.held+s.deep+s.merges)
}
