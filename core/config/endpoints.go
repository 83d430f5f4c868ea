package config

import "path/filepath"

// ParseEndpoints parses data, the content of the file called name: a list of endpoints in the form that it has under the key
// endpoints, as YAML or JSON. Variables are not expanded. There is at least one endpoint in what it gives. The error is
// always a [*Problems].
func ParseEndpoints(name string, data []byte) ([]Endpoint, error) {
	d := &decoder{file: name, dir: filepath.Dir(name), env: func(string) (string, bool) { return "", false }}
	root := d.document(data)
	if root == nil {
		return nil, d.problems.Err()
	}
	v := value{root, d.position(root, "")}
	items := d.items(v)
	if v.kind == list && len(items) == 0 {
		d.fail(v.pos, "at least one endpoint is needed")
	}
	out := d.endpointList(items)
	d.checkTwice(out)
	if err := d.problems.Err(); err != nil {
		return nil, err
	}
	return out, nil
}

// checkTwice refuses an endpoint that stands in the list a second time.
func (d *decoder) checkTwice(list []Endpoint) {
	type place struct {
		address string
		srv     bool
	}
	seen := map[place]bool{}
	for _, e := range list {
		p := place{e.Address, e.SRV}
		if e.Address != "" && seen[p] {
			d.fail(e.Pos, "the endpoint %s stands in the list twice; a weight gives it more", e.Address)
		}
		seen[p] = true
	}
}
