package config

import (
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// joinColons mends what the lexer does to colons between braces. There it ends a plain scalar at every colon,
// although YAML 1.2.2 §7.3.3 ends one only where white space or an indicator follows: {endpoints:
// [http://127.0.0.1:9000]} would be a list of one map with the key http://127.0.0.1. In a list the parts are joined
// again; between braces {a:1} is refused, because other readers of YAML take it for a key a:1 without a value.
func (d *decoder) joinColons(tokens token.Tokens) (token.Tokens, bool) {
	out := tokens[:0:0]
	var open []token.Type
	for i := 0; i < len(tokens); i++ {
		tk := tokens[i]
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			open = append(open, tk.Type)
		case token.SequenceEndType, token.MappingEndType:
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
		case token.MappingValueType:
			if len(open) == 0 || i+1 == len(tokens) || !glued(tk, tokens[i+1]) {
				break
			}
			var before *token.Token
			if n := len(out); n > 0 && glued(out[n-1], tk) {
				before = out[n-1]
			}
			if open[len(open)-1] == token.MappingStartType {
				if before == nil {
					break // a quoted key, as in JSON
				}
				d.fail(d.tokenPos(tk, ""), "a space is missing after the colon")
				return nil, false
			}
			i++
			tk = joined(before, tk, tokens[i])
			if before != nil {
				out = out[:len(out)-1]
			}
		}
		out = append(out, tk)
	}
	return linked(out), true
}

// glued says that b follows a without white space, one of them is a colon and the other is a plain scalar.
func glued(a, b *token.Token) bool {
	for _, tk := range []*token.Token{a, b} {
		if tk.Type != token.MappingValueType && (tk.Indicator != token.NotIndicator || tk.CharacterType != token.CharacterTypeMiscellaneous) {
			return false
		}
	}
	return a.Position.Line == b.Position.Line && a.Position.Column+utf8.RuneCountInString(a.Value) == b.Position.Column
}

// joined is one plain scalar made of before, which may be nil, a colon and after.
func joined(before, colon, after *token.Token) *token.Token {
	value, pos := colon.Value+after.Value, colon.Position
	if before != nil {
		value, pos = before.Value+value, before.Position
	}
	return token.String(value, value, pos)
}
