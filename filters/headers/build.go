package headers

import (
	"errors"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
)

// Request builds the part that changes requests. It stands last before the upstream.
func Request(p filter.Place) ([]filter.Placed, error) {
	r := p.Route
	f := &request{newEdit(&r.Headers.Request, true)}
	if f.empty() {
		return nil, nil
	}
	if err := check(&r.Headers.Request); err != nil {
		return nil, err
	}
	return []filter.Placed{{Name: "headers", Slot: filter.Upstream, Filter: f}}, nil
}

// Response builds the part that changes answers: every one of the route, as the last to do so.
func Response(p filter.Place) ([]filter.Placed, error) {
	r := p.Route
	c := &r.Headers.Response
	f := &response{newEdit(c, false), c.Preset == config.PresetSecurity}
	if f.empty() && !f.security {
		return nil, nil
	}
	if err := check(c); err != nil {
		return nil, err
	}
	return []filter.Placed{{Name: "headers", Answer: f.answer}}, nil
}

// check refuses fields that frame a message or end at this hop: weir writes those itself.
func check(c *config.HeaderChange) error {
	var problems []error
	for i := range c.Set {
		s := &c.Set[i]
		if id := exchange.Identify([]byte(s.Name)); id.HopByHop() || id == exchange.Expect {
			problems = append(problems, s.Pos.Errorf("the header belongs to the connection and cannot be set"))
		}
	}
	return errors.Join(problems...)
}
