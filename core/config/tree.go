package config

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// kind is what a node is, before anything in it is expanded.
type kind uint8

const (
	nothing kind = iota
	boolean
	integer
	float
	text
	list
	object
	broken // refused already: nothing more is said about it
)

// node is a YAML value without YAML's syntax: anchors, aliases and merge keys are resolved. A node that is reached
// through an alias is shared and keeps the position of its anchor; it is never changed once built.
type node struct {
	kind   kind
	line   int
	column int
	text   string // of a scalar, as written, without its quotes
	final  bool   // text is the result of an expansion: nothing in it is expanded again
	items  []*node
	fields []field
	size   int // nodes below and with this one, counted once for every way to them
}

type field struct {
	name   string
	line   int
	column int
	value  *node
}

const (
	// maxDepth bounds the recursion of the parser and of everything behind it.
	maxDepth = 100
	// maxNodes bounds what aliases may multiply a small file to.
	maxNodes = 4 << 20
)

// describe names n in an error.
func (n *node) describe() string {
	switch n.kind {
	case nothing:
		return "nothing"
	case boolean:
		return n.text
	case integer, float:
		return "the number " + n.text
	case text:
		return "the text " + strconv.Quote(shorten(n.text))
	case list:
		return "a list"
	case broken:
		return "what is refused where it stands"
	}
	return "keys and values"
}

func shorten(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// has tells whether n is an object with a key called name.
func (n *node) has(name string) bool {
	return n.get(name) != nil
}

func (n *node) get(name string) *node {
	for i := range n.fields {
		if n.fields[i].name == name {
			return n.fields[i].value
		}
	}
	return nil
}

// tree parses data and returns its root, nil when it is empty or was refused.
func (d *decoder) tree(data []byte) *node {
	docs, _ := d.trees(data, func(n ast.Node) bool {
		d.fail(d.nodePos(n, ""), "a second document; a configuration is one document")
		return false
	})
	if len(docs) == 0 {
		return nil
	}
	return docs[0]
}

// trees parses data and returns the roots of its documents, leaving out empty ones; further decides whether there may be one
// after the first. It reports false if something was refused.
func (d *decoder) trees(data []byte, further func(ast.Node) bool) (roots []*node, ok bool) {
	// The parser is somebody else's and this is the one place that meets arbitrary text: a panic in it is a refusal.
	defer func() {
		if r := recover(); r != nil {
			d.fail(Pos{File: d.file, Line: 1, Column: 1}, "the file is not YAML that can be read: %v", r)
			roots, ok = nil, false
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if tk := tooDeep(tokens); tk != nil {
		d.fail(d.tokenPos(tk, ""), "nested more than %d deep", maxDepth)
		return nil, false
	}
	tokens, ok = d.joinColons(tokens)
	if !ok {
		return nil, false
	}
	var bodies []ast.Node
	for _, part := range documents(tokens) {
		file, err := parser.Parse(part, 0, parser.AllowDuplicateMapKey())
		if err != nil {
			d.syntax(data, err)
			return nil, false
		}
		for _, doc := range file.Docs {
			if doc.Body == nil {
				continue
			}
			if len(bodies) > 0 && !further(doc.Body) {
				return nil, false
			}
			bodies = append(bodies, doc.Body)
		}
	}
	d.broken = map[string]bool{}
	for _, body := range bodies {
		b := builder{d: d, anchors: map[string]*node{}}
		root := b.build(body, Pos{}, 0)
		if b.tooBig || root.kind == broken {
			return nil, false
		}
		roots = append(roots, root)
	}
	return roots, true
}

// documents cuts tokens where documents begin: the parser forgets all that comes after an empty one.
func documents(tokens token.Tokens) []token.Tokens {
	var out []token.Tokens
	from, content, directive := 0, false, false
	cut := func(to int) {
		if content {
			out = append(out, linked(tokens[from:to]))
		}
	}
	for i, tk := range tokens {
		switch tk.Type {
		case token.DocumentHeaderType:
			if directive { // it belongs to the document that begins here
				directive, content = false, true
				continue
			}
			cut(i)
			from, content = i, false
		case token.DocumentEndType:
			cut(i)
			from, content = i+1, false
		case token.DirectiveType:
			directive = true
		case token.CommentType:
		default:
			content = true
		}
	}
	cut(len(tokens))
	return out
}

// linked makes tokens a list of their own.
func linked(tokens token.Tokens) token.Tokens {
	for i, tk := range tokens {
		tk.Prev, tk.Next = nil, nil
		if i > 0 {
			tk.Prev, tokens[i-1].Next = tokens[i-1], tk
		}
	}
	return tokens
}

// syntax reports an error of the parser.
func (d *decoder) syntax(data []byte, err error) {
	pos := Pos{File: d.file, Line: 1, Column: 1}
	var e *yaml.SyntaxError
	if !errors.As(err, &e) {
		d.fail(pos, "%s", firstLine(err.Error()))
		return
	}
	if e.Token != nil {
		pos = d.tokenPos(e.Token, "")
	}
	hint := ""
	lines := bytes.Split(data, []byte("\n"))
	if pos.Line <= len(lines) && bytes.Contains(lines[pos.Line-1], []byte("${")) {
		hint = `; inside [ ] and { } a ${…} needs quotes: "${NAME}"`
	}
	d.fail(pos, "%s%s", firstLine(e.Message), hint)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// tooDeep returns the token that nests deeper than maxDepth. Flow brackets nest wherever they stand; block values
// nest by their column, which takes a quadratic number of bytes, or within one run of indicators without a value.
func tooDeep(tokens token.Tokens) *token.Token {
	flow, run := 0, 0
	for _, tk := range tokens {
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType, token.AnchorType, token.TagType:
			run++
		case token.CommentType:
		default:
			run = 0
		}
		if flow > maxDepth || run > maxDepth {
			return tk
		}
	}
	return nil
}

// builder turns the parser's tree into nodes.
type builder struct {
	d       *decoder
	anchors map[string]*node
	tooBig  bool // the tree is not fit to be walked
}

// refuse notes why a value cannot be read and returns what stands in for it.
func (b *builder) refuse(pos Pos, format string, args ...any) *node {
	b.d.fail(pos, format, args...)
	b.d.broken[pos.Path] = true
	return &node{kind: broken, line: pos.Line, column: pos.Column, size: 1}
}

// build returns the node of n; at holds its path.
func (b *builder) build(n ast.Node, at Pos, depth int) *node {
	pos := b.d.nodePos(n, at.Path)
	if depth > maxDepth {
		b.tooBig = true
		return b.refuse(pos, "nested more than %d deep", maxDepth)
	}
	out := &node{line: pos.Line, column: pos.Column, size: 1}
	switch n := n.(type) {
	case *ast.NullNode:
		out.kind = nothing
	case *ast.BoolNode:
		out.kind, out.text = boolean, strconv.FormatBool(n.Value)
	case *ast.IntegerNode:
		out.kind, out.text = integer, n.Token.Value
	case *ast.FloatNode:
		out.kind, out.text = float, n.Token.Value
	case *ast.InfinityNode, *ast.NanNode:
		out.kind, out.text = float, n.GetToken().Value
	case *ast.StringNode:
		out.kind, out.text = text, n.Value
	case *ast.LiteralNode:
		out.kind, out.text = text, n.Value.Value
	case *ast.SequenceNode:
		out.kind = list
		for i, item := range n.Values {
			child := b.build(item, Pos{Path: pos.index(i)}, depth+1)
			out.items = append(out.items, child)
			out.size += child.size
		}
	case *ast.MappingNode:
		out.kind = object
		b.buildFields(out, n.Values, pos, depth)
	case *ast.MappingValueNode:
		out.kind = object
		b.buildFields(out, []*ast.MappingValueNode{n}, pos, depth)
	case *ast.AnchorNode:
		return b.buildAnchor(n, pos, depth)
	case *ast.AliasNode:
		return b.alias(n, pos)
	case *ast.TagNode:
		return b.refuse(pos, "tags such as %s are not read; write the value plainly", n.Start.Value)
	default:
		return b.refuse(pos, "this form of YAML is not read: %s", n.Type())
	}
	if out.size > maxNodes {
		b.tooBig = true
		return b.refuse(pos, "aliases multiply this to more than %d values", maxNodes)
	}
	return out
}

func (b *builder) buildFields(out *node, values []*ast.MappingValueNode, pos Pos, depth int) {
	var merges []*node
	seen := map[string]int{}
	for _, v := range values {
		keyPos := b.d.nodePos(v.Key, pos.Path)
		if v.Key.IsMergeKey() {
			keyPos.Path = pos.key("<<")
			merges = append(merges, b.merged(b.build(v.Value, keyPos, depth+1), keyPos)...)
			continue
		}
		name, ok := keyText(v.Key)
		if !ok {
			b.d.fail(keyPos, "a key wants to be one plain word")
			continue
		}
		keyPos.Path = pos.key(name)
		if strings.Contains(name, "${") && !b.d.foreign {
			b.d.fail(keyPos, "variables are expanded in values, not in keys")
		}
		if line, dup := seen[name]; dup {
			// The first one stands, so that what follows is still checked once.
			b.d.fail(keyPos, "duplicate key; it stands in line %d already", line)
			b.build(v.Value, keyPos, depth+1)
			continue
		}
		seen[name] = keyPos.Line
		child := b.build(v.Value, keyPos, depth+1)
		out.fields = append(out.fields, field{name, keyPos.Line, keyPos.Column, child})
		out.size += child.size
	}
	for _, m := range merges {
		for _, f := range m.fields {
			if _, dup := seen[f.name]; !dup {
				seen[f.name] = f.line
				out.fields = append(out.fields, f)
				out.size += f.value.size
			}
		}
	}
}

// merged returns the objects that a merge key brings in, the first of which wins.
func (b *builder) merged(n *node, pos Pos) []*node {
	if n.kind == broken {
		return nil
	}
	from := []*node{n}
	if n.kind == list {
		from = n.items
	}
	for _, m := range from {
		if m.kind != object {
			b.d.fail(pos, "<< wants keys and values, not %s", m.describe())
			return nil
		}
	}
	return from
}

func (b *builder) buildAnchor(n *ast.AnchorNode, pos Pos, depth int) *node {
	if n.Value == nil {
		return b.refuse(pos, "the anchor has no value")
	}
	out := b.build(n.Value, pos, depth+1)
	// Only now: an alias inside of its own anchor must not find it.
	if n.Name != nil {
		b.anchors[n.Name.GetToken().Value] = out
	}
	return out
}

func (b *builder) alias(n *ast.AliasNode, pos Pos) *node {
	name := ""
	if n.Value != nil {
		name = n.Value.GetToken().Value
	}
	out := b.anchors[name]
	if out == nil {
		return b.refuse(pos, "no anchor &%s stands above this%s", name, suggest(name, slices.Sorted(maps.Keys(b.anchors))))
	}
	return out
}

func keyText(key ast.MapKeyNode) (string, bool) {
	switch k := key.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.MappingKeyNode, *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "", false
	default:
		return k.GetToken().Value, true
	}
}

func (d *decoder) nodePos(n ast.Node, path string) Pos {
	switch m := n.(type) {
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			n = m.Values[0].Key
		}
	case *ast.MappingValueNode:
		n = m.Key
	}
	return d.tokenPos(n.GetToken(), path)
}

func (d *decoder) tokenPos(tk *token.Token, path string) Pos {
	pos := Pos{File: d.file, Line: 1, Column: 1, Path: path}
	if tk != nil && tk.Position != nil {
		pos.Line, pos.Column = max(tk.Position.Line, 1), max(tk.Position.Column, 1)
	}
	return pos
}

func (d *decoder) position(n *node, path string) Pos {
	return Pos{File: d.file, Line: n.line, Column: n.column, Path: path}
}
