package upstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/weirproxy/weir/core/clock"
)

// Target is one item of a list of endpoints that the operator has set in place of the configuration's.
type Target struct {
	URL    string `json:"url"`
	Weight int    `json:"weight,omitempty"` // 0 for SRV records, which have their own
}

// The reasons why endpoints can't be set, besides what Options.Parse says.
var (
	ErrFixed    = errors.New("the endpoints of this upstream can't be set")
	ErrNoTarget = errors.New("no such endpoint")
	ErrLast     = errors.New("the last endpoint can't be removed; drop all that was set instead, or set others")
)

// SetEndpoints puts doc, a list in the form of the configuration, in the place of the endpoints that the configuration or
// a file gives. It holds for all plans that name the upstream, now and after reloads, until ResetEndpoints or until none
// names it any more.
func (u *Upstream) SetEndpoints(doc []byte) error {
	return u.registry.set(u.group, func([]Target) ([]Target, error) { return u.group.parse(doc) })
}

// AddEndpoints adds doc, a list in the form of the configuration, to the endpoints that are in effect, and sets those;
// one that is among them gets its new weight.
func (u *Upstream) AddEndpoints(doc []byte) error {
	return u.registry.set(u.group, func(now []Target) ([]Target, error) {
		list, err := u.group.parse(doc)
		if err != nil {
			return nil, err
		}
		for _, t := range list {
			if i := slices.IndexFunc(now, func(o Target) bool { return o.URL == t.URL }); i >= 0 {
				now[i] = t
				continue
			}
			now = append(now, t)
		}
		return now, nil
	})
}

// RemoveEndpoint takes the endpoint with that URL out of those that are in effect, and sets the others.
func (u *Upstream) RemoveEndpoint(url string) error {
	return u.registry.set(u.group, func(now []Target) ([]Target, error) {
		if doc, err := json.Marshal([]Target{{URL: url}}); err == nil { // in the form in which it is kept, if it has one
			if list, err := u.group.parse(doc); err == nil {
				url = list[0].URL
			}
		}
		i := slices.IndexFunc(now, func(o Target) bool { return o.URL == url })
		switch {
		case i < 0:
			return nil, ErrNoTarget
		case len(now) == 1:
			return nil, ErrLast
		}
		return slices.Delete(now, i, i+1), nil
	})
}

// ResetEndpoints goes back to the endpoints of the configuration, and reports whether others had been set.
func (u *Upstream) ResetEndpoints() bool {
	was := u.group.overridden()
	_ = u.registry.set(u.group, func([]Target) ([]Target, error) { return nil, nil })
	return was
}

func (g *group) overridden() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.override != nil
}

// parse reads a list that the operator has sent.
func (g *group) parse(doc []byte) ([]Target, error) {
	list, err := g.o.parse("", doc)
	if err != nil {
		return nil, err
	}
	out := make([]Target, len(list))
	for i := range list {
		out[i] = targetOf(&list[i])
	}
	return out, nil
}

func targetOf(o *EndpointOptions) Target {
	t := Target{URL: o.URL, Weight: o.Weight}
	if o.SRV {
		t.Weight = 0
	}
	return t
}

// parseTargets gives what list stands for under o.
func parseTargets(o *Options, list []Target) ([]*target, error) {
	doc, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	all, err := o.parse("", doc)
	if err != nil {
		return nil, err
	}
	return newTargets(all, FromOperator), nil
}

// parse is o.Parse, and checks how many there are.
func (o *Options) parse(name string, doc []byte) ([]EndpointOptions, error) {
	if o.Parse == nil {
		return nil, ErrFixed
	}
	list, err := o.Parse(name, doc)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 || len(list) > maxEndpoints {
		return nil, fmt.Errorf("%d endpoints; from 1 to %d are possible", len(list), maxEndpoints)
	}
	for i := range list {
		list[i].complete()
	}
	return list, nil
}

// set changes the endpoints of g's upstream, in all its groups or in none: edit gets what is in effect in g and gives what
// is to be, nil for the configuration's.
func (r *Registry) set(g *group, edit func([]Target) ([]Target, error)) error {
	r.opening.Lock()
	defer r.opening.Unlock()
	g.mu.Lock()
	now := make([]Target, len(g.targets))
	for i, t := range g.targets {
		now[i] = targetOf(&t.o)
	}
	g.mu.Unlock()
	list, err := edit(now)
	if err != nil {
		return err
	}
	r.mu.Lock()
	var groups []*group
	for other := range maps.Values(r.groups) {
		if other.o.Name == g.o.Name {
			groups = append(groups, other)
		}
	}
	r.mu.Unlock()
	parsed := make([][]*target, len(groups))
	if list != nil {
		for i, other := range groups {
			if parsed[i], err = parseTargets(&other.o, list); err != nil {
				return err
			}
		}
	}
	r.mu.Lock()
	if delete(r.overrides, g.o.Name); list != nil && len(groups) > 0 {
		r.overrides[g.o.Name] = list
	}
	r.mu.Unlock()
	for i, other := range groups {
		other.setOverride(parsed[i])
	}
	return nil
}

// setOverride puts list, nil for none, in effect.
func (g *group) setOverride(list []*target) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || list == nil && g.override == nil {
		return
	}
	g.override = list
	text := "endpoints set by the operator"
	if list == nil {
		text = "endpoints of the configuration are back"
	}
	g.tell("", text, nil, false)
	g.aim(nil)
	g.change(clock.Nano(), nil)
}
