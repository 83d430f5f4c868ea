package importer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// term is one matcher of a rule, such as Host(`a`).
type term struct {
	name string // lower case
	as   string // as it is written
	args []string
	not  bool
}

// maxAlternatives bounds what || and && may multiply to.
const maxAlternatives = 64

// parseRule reads a router's rule into alternatives, each of which is a list of terms that must all match.
func parseRule(s string) ([][]term, error) {
	p := &ruleParser{s: s}
	alternatives, err := p.or(0)
	if err == nil && p.space() < len(p.s) {
		err = fmt.Errorf("%q is left over", p.s[p.at:])
	}
	if err != nil {
		return nil, err
	}
	return alternatives, nil
}

type ruleParser struct {
	s  string
	at int
}

// space skips white space and gives where the parser is.
func (p *ruleParser) space() int {
	for p.at < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.at]) >= 0 {
		p.at++
	}
	return p.at
}

func (p *ruleParser) take(s string) bool {
	if p.space(); strings.HasPrefix(p.s[p.at:], s) {
		p.at += len(s)
		return true
	}
	return false
}

var (
	errManyAlternatives = fmt.Errorf("more than %d alternatives", maxAlternatives)
	errRuleDepth        = errors.New("nested too deep")
)

func (p *ruleParser) or(depth int) ([][]term, error) {
	all, err := p.and(depth)
	for err == nil && p.take("||") {
		var more [][]term
		more, err = p.and(depth)
		if all = append(all, more...); len(all) > maxAlternatives {
			err = errManyAlternatives
		}
	}
	return all, err
}

func (p *ruleParser) and(depth int) ([][]term, error) {
	all, err := p.unary(depth)
	for err == nil && p.take("&&") {
		var more [][]term
		if more, err = p.unary(depth); len(all)*len(more) > maxAlternatives {
			err = errManyAlternatives
		}
		if err != nil {
			break
		}
		var product [][]term
		for _, a := range all {
			for _, b := range more {
				product = append(product, slices.Concat(a, b))
			}
		}
		all = product
	}
	return all, err
}

func (p *ruleParser) unary(depth int) ([][]term, error) {
	if depth > 50 {
		return nil, errRuleDepth
	}
	if p.take("!") {
		inner, err := p.unary(depth + 1)
		if err == nil && (len(inner) != 1 || len(inner[0]) != 1) {
			err = errors.New("! before more than one matcher")
		}
		if err != nil {
			return nil, err
		}
		t := inner[0][0]
		t.not = !t.not
		return [][]term{{t}}, nil
	}
	if p.take("(") {
		inner, err := p.or(depth + 1)
		if err == nil && !p.take(")") {
			err = errors.New("a ) is missing")
		}
		return inner, err
	}
	return p.matcher()
}

func (p *ruleParser) matcher() ([][]term, error) {
	begin := p.space()
	for p.at < len(p.s) && (p.s[p.at] >= 'a' && p.s[p.at] <= 'z' || p.s[p.at] >= 'A' && p.s[p.at] <= 'Z') {
		p.at++
	}
	as := p.s[begin:p.at]
	name := strings.ToLower(as)
	if name == "" || !p.take("(") {
		return nil, fmt.Errorf("a matcher such as Host(`example.com`) is expected at %q", p.s[begin:])
	}
	var args []string
	for {
		arg, err := p.argument()
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
		if p.take(")") {
			break
		}
		if !p.take(",") {
			return nil, fmt.Errorf("a , or ) is expected at %q", p.s[p.at:])
		}
	}
	// Several paths in one matcher are alternatives.
	if (name == "path" || name == "pathprefix") && len(args) > 1 {
		var all [][]term
		for _, a := range args {
			all = append(all, []term{{name: name, as: as, args: []string{a}}})
		}
		return all[:min(len(all), maxAlternatives)], nil
	}
	return [][]term{{{name: name, as: as, args: args}}}, nil
}

func (p *ruleParser) argument() (string, error) {
	p.space()
	if p.at == len(p.s) || strings.IndexByte("`\"'", p.s[p.at]) < 0 {
		return "", fmt.Errorf("a text between backticks is expected at %q", p.s[p.at:])
	}
	end := strings.IndexByte(p.s[p.at+1:], p.s[p.at])
	if end < 0 {
		return "", fmt.Errorf("the text %s is not closed", p.s[p.at:])
	}
	arg := p.s[p.at+1 : p.at+1+end]
	p.at += end + 2
	return arg, nil
}

// matchTerms puts terms into a route's match; why says what weir cannot match by.
func matchTerms(terms []term, x *route) (why string, wider string) {
	for _, t := range terms {
		text := t.as + "(`" + strings.Join(t.args, "`, `") + "`)"
		if t.not {
			return "it matches by !" + text, ""
		}
		switch {
		case (t.name == "host" || t.name == "hostheader") && len(x.hosts) == 0:
			for _, a := range t.args {
				if a = strings.ToLower(a); !slices.Contains(x.hosts, a) {
					x.hosts = append(x.hosts, a)
				}
			}
		case (t.name == "path" || t.name == "pathprefix") && x.path == "" && !strings.ContainsAny(t.args[0], "{}"):
			x.path = t.args[0]
			if t.name == "pathprefix" {
				if x.path = strings.TrimRight(x.path, "/") + "/*"; x.path != "/*" && !strings.HasSuffix(t.args[0], "/") {
					wider = t.args[0]
				}
			}
		case t.name == "method" && len(x.methods) == 0:
			for _, a := range t.args {
				x.methods = append(x.methods, strings.ToUpper(a))
			}
		case (t.name == "header" || t.name == "headers") && len(t.args) == 2:
			x.headers = append(x.headers, [2]string{strings.ToLower(t.args[0]), t.args[1]})
		default:
			return "it matches by " + text, ""
		}
	}
	return "", wider
}
