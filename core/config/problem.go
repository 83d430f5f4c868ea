package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Pos is where something stands in the configuration. Line and Column count from 1, Column in characters; Path
// names the place, such as routes[0].limits[1].rate. The zero value is nowhere.
type Pos struct {
	File   string
	Line   int
	Column int
	Path   string
}

// Errorf returns a [*Problem] at p.
func (p Pos) Errorf(format string, args ...any) error {
	return &Problem{File: p.File, Line: p.Line, Column: p.Column, Path: p.Path, Message: fmt.Sprintf(format, args...)}
}

// String returns file:line:col.
func (p Pos) String() string {
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
}

// MarshalText returns file:line:col: path, for JSON.
func (p Pos) MarshalText() ([]byte, error) {
	return []byte(p.String() + ": " + p.Path), nil
}

// key returns the path of the value under the key name at p.
func (p Pos) key(name string) string {
	if !plainKey(name) {
		return p.Path + "[" + strconv.Quote(name) + "]"
	}
	if p.Path == "" {
		return name
	}
	return p.Path + "." + name
}

func (p Pos) index(i int) string {
	return p.Path + "[" + strconv.Itoa(i) + "]"
}

func plainKey(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return name != ""
}

// Problem is one thing that is wrong, or, in [Spec.Warnings], looks wrong.
type Problem struct {
	File    string
	Line    int
	Column  int
	Path    string
	Message string
}

// Error returns file:line:col: path: message.
func (p *Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.Pos().String())
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path)
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Pos returns where p is.
func (p *Problem) Pos() Pos {
	return Pos{File: p.File, Line: p.Line, Column: p.Column, Path: p.Path}
}

// Problems collects what is wrong with one configuration. The zero value is empty and ready for use; not for
// concurrent use.
type Problems struct {
	List []Problem
}

// Add adds err: every problem of a [*Problems], a [*Problem], or any other error as a problem without a position.
// An error that wraps a problem keeps the problem's position and its own text. A nil err adds nothing.
func (ps *Problems) Add(err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			ps.Add(e)
		}
		return
	}
	if p, ok := err.(*Problem); ok {
		ps.List = append(ps.List, *p)
		return
	}
	var p *Problem
	if errors.As(err, &p) {
		wrapped := *p
		wrapped.Message = strings.Replace(err.Error(), p.Error(), p.Message, 1)
		ps.List = append(ps.List, wrapped)
		return
	}
	ps.List = append(ps.List, Problem{Message: err.Error()})
}

// Err returns ps, sorted by position, or nil when it is empty.
func (ps *Problems) Err() error {
	if len(ps.List) == 0 {
		return nil
	}
	sortProblems(ps.List)
	return ps
}

// Error returns one line a problem, without a line feed at the end.
func (ps *Problems) Error() string {
	lines := make([]string, len(ps.List))
	for i := range ps.List {
		lines[i] = ps.List[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the problems one by one, for [errors.As].
func (ps *Problems) Unwrap() []error {
	errs := make([]error, len(ps.List))
	for i := range ps.List {
		errs[i] = &ps.List[i]
	}
	return errs
}

func sortProblems(list []Problem) {
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
