package certs

import (
	"cmp"
	"slices"
	"time"
)

// Where a certificate comes from.
const (
	SourceFile = "file"
	SourceACME = "acme"
)

// Info tells of one certificate.
type Info struct {
	Names    []string  // empty while there is none
	NotAfter time.Time // zero while there is none
	File     string
	Source   string // SourceFile or SourceACME
	Domain   string // that it is issued for; with SourceACME
	Error    string // what is wrong with the files, or with the last issue; "" if nothing is
}

// List tells of every certificate that is open, by file.
func (r *Registry) List() []Info {
	var pairs []*Pair
	issues := map[*Pair]string{}
	r.mu.Lock()
	for _, s := range r.shelf {
		switch p := s.part.(type) {
		case *Pair:
			pairs = append(pairs, p)
		case *ACME:
			for _, own := range p.pairs {
				if e := p.trouble(own.acme); e != "" {
					issues[own] = e
				}
			}
		}
	}
	r.mu.Unlock()
	out := make([]Info, 0, len(pairs))
	for _, p := range pairs {
		i := Info{File: p.cert, Source: SourceFile, Domain: p.acme, Error: p.trouble.String()}
		if p.acme != "" {
			i.Source = SourceACME
		}
		if i.Error == "" {
			i.Error = issues[p]
		}
		if c := p.current.Load(); c != nil {
			i.NotAfter = c.Leaf.NotAfter
			i.Names = slices.Clone(c.Leaf.DNSNames)
			for _, ip := range c.Leaf.IPAddresses {
				i.Names = append(i.Names, ip.String())
			}
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b Info) int { return cmp.Compare(a.File, b.File) })
	return out
}

// Waiting lists the domains that have no certificate yet, sorted.
func (r *Registry) Waiting() []string {
	var names []string
	for _, i := range r.List() {
		if i.Domain != "" && i.NotAfter.IsZero() {
			names = append(names, i.Domain)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
