package config

// Share is one upstream of a split.
type Share struct {
	Pos      Pos
	Upstream string
	Weight   int
}

// Mirror sends a copy of requests elsewhere and throws the answers away.
type Mirror struct {
	Pos      Pos
	Upstream string
	Share    float64 // of the requests; 1 unless given
}

// maxWeights bounds the sum of a split's weights.
const maxWeights = 1_000_000

var shareKeys = []key[Share]{
	{"upstream", must, func(d *decoder, v value, s *Share) { s.Upstream = d.mention(v, upstreams) }},
	{"weight", must, func(d *decoder, v value, s *Share) { s.Weight = int(d.integer(v, 1, maxWeights)) }},
}

func (d *decoder) split(v value) []Share {
	items := d.items(v)
	if v.kind == list && len(items) == 0 {
		d.fail(v.pos, "at least one upstream is needed")
	}
	out := make([]Share, len(items))
	sum := 0
	seen := map[string]bool{}
	for i, item := range items {
		s := &out[i]
		s.Pos = item.pos
		readObject(d, item, shareKeys, s)
		if s.Upstream != "" && seen[s.Upstream] {
			d.fail(item.pos, "the upstream %q stands in the split twice", s.Upstream)
		}
		seen[s.Upstream] = true
		sum += s.Weight
	}
	if sum > maxWeights {
		d.fail(v.pos, "the weights come to %d; at most %d are possible", sum, maxWeights)
	}
	return out
}

var mirrorKeys = []key[Mirror]{
	{"upstream", must, func(d *decoder, v value, m *Mirror) { m.Upstream = d.mention(v, upstreams) }},
	{"share", now, func(d *decoder, v value, m *Mirror) { m.Share = d.fraction(v) }},
}

func (d *decoder) mirror(v value) *Mirror {
	m := &Mirror{Pos: v.pos, Share: 1}
	readObject(d, v, mirrorKeys, m)
	return m
}
