package inspect

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/weirproxy/weir/core/wasm"
)

// Print writes a report for a person, in lines of about 120 columns.
func (r *Report) Print(w io.Writer) error {
	p := &printer{}
	r.printHead(p)
	if r.ABI != "" {
		r.printParts(p)
		r.printImports(p)
		r.printAsks(p)
		r.printUnserved(p)
	}
	if len(r.Output) > 0 {
		p.line("")
		p.line("It logged, when it was tried:")
		for _, line := range r.Output {
			p.line("  %s", clean(line, 300))
		}
	}
	if r.Trial != nil && !r.Trial.Good && r.Loads {
		p.line("")
		p.line("It may load when it is configured, but failed without that: %s", clean(r.Trial.Error, 1000))
	}
	if r.Error != "" {
		p.line("")
		p.line("It will not load: %s", clean(r.Error, 1000))
	}
	if r.Hint != "" {
		p.line("%s", r.Hint)
	}
	_, err := io.WriteString(w, p.String())
	return err
}

type printer struct{ strings.Builder }

func (p *printer) line(format string, args ...any) {
	fmt.Fprintf(p, format, args...)
	p.WriteByte('\n')
}

func (p *printer) field(name, format string, args ...any) {
	p.line("  %-11s %s", name, fmt.Sprintf(format, args...))
}

func (r *Report) printHead(p *printer) {
	switch {
	case r.ABI == "proxy-wasm" && r.Unmarked:
		p.field("built for", "Proxy-Wasm, of a version that it does not say; treated as %s", r.Version)
	case r.ABI == "proxy-wasm":
		p.field("built for", "Proxy-Wasm %s", r.Version)
	case r.ABI != "":
		p.field("built for", "%s", r.ABI)
	}
	if r.Functions > 0 {
		p.field("made with", "%s", r.Made.text())
	}
	if r.ModuleName != "" {
		p.field("name", "%s", clean(r.ModuleName, 100))
	}
	if r.Functions > 0 {
		p.field("size", "%s: %s in %s of code, %s of data", amount(int64(r.Size)), functions(r.Functions), amount(int64(r.Code)), amount(int64(r.Data)))
	} else {
		p.field("size", "%s", amount(int64(r.Size)))
	}
	p.field("sha256", "%s", r.SHA256)
	if m := r.Memory; m != nil {
		most := "no maximum of its own"
		if m.Max > 0 {
			most = amount(m.Max) + " at most"
		}
		p.field("memory", "%s at first, %s", amount(m.Initial), most)
	}
	if c := r.Cost; c != nil {
		p.field("start", "compiled in %s; an instance starts in %s of CPU time and has %s of memory then", short(c.Compile), short(c.CPU), amount(c.Memory))
	}
	if r.Trial != nil && r.Trial.Good {
		p.field("trial", "it served a request made up to try it")
	}
}

func (m Made) text() string {
	switch {
	case m.Language == "" && len(m.Tools) == 0:
		return "nothing that tells"
	case m.Guess != "":
		return fmt.Sprintf("looks like %s (%s)", clean(m.Language, 100), clean(m.Guess, 100))
	case len(m.Tools) == 0:
		return clean(m.Language, 100)
	case m.Language == "":
		return clean(strings.Join(m.Tools, ", "), 200)
	}
	return fmt.Sprintf("%s (%s)", clean(m.Language, 100), clean(strings.Join(m.Tools, ", "), 200))
}

func (r *Report) printParts(p *printer) {
	p.line("")
	if len(r.Parts) == 0 {
		p.line("Takes part in nothing: it exports no function that is called.")
		return
	}
	p.line("Takes part in:")
	for i := 0; i < len(r.Parts); {
		name, exports := r.Parts[i].Name, []string{}
		for ; i < len(r.Parts) && r.Parts[i].Name == name; i++ {
			e := r.Parts[i].Export
			if r.Parts[i].Empty {
				e += " (which does nothing)"
			}
			exports = append(exports, e)
		}
		p.entry(name, strings.Join(exports, ", "))
	}
}

// entry is a line of a list, broken where it is long.
func (p *printer) entry(name, text string) {
	const indent, width = 25, 118
	line := fmt.Sprintf("  %-22s", name)
	for _, word := range strings.Fields(text) {
		if len([]rune(line))+1+len([]rune(word)) > width && len(strings.TrimSpace(line)) > 0 && len(line) > indent {
			p.line("%s", line)
			line = strings.Repeat(" ", indent-1)
		}
		line += " " + word
	}
	p.line("%s", line)
}

func (r *Report) printImports(p *printer) {
	count := map[string]int{}
	for _, im := range r.Imports {
		count[im.Met]++
	}
	p.line("")
	if len(r.Imports) == 0 {
		p.line("Imports no function.")
		return
	}
	text := "Imports " + functions(len(r.Imports))
	adapted, stubbed := count[wasm.Adapted.String()], count[wasm.Stubbed.String()]
	if adapted+stubbed == 0 {
		p.line("%s, all covered.", text)
		return
	}
	p.line("%s: %d covered, %d adapted, %d stubbed:", text, count[wasm.Covered.String()], adapted, stubbed)
	for _, met := range []string{wasm.Adapted.String(), wasm.Stubbed.String()} {
		listed := 0
		for _, im := range r.Imports {
			if im.Met != met {
				continue
			}
			if listed++; listed > maxListed {
				p.entry(met, fmt.Sprintf("%d more", count[met]-maxListed))
				break
			}
			text := clean(im.Module, 60) + "." + clean(im.Name, 60)
			switch {
			case im.Has == "":
				text += ": calls of it fail"
			case im.voids():
				text += ": it ignores the result"
			default:
				text += " is " + im.Has + " and declared as " + im.Wants + ": calls of it fail"
			}
			p.entry(met, text)
		}
	}
}

// maxListed is the most imports of a kind that are listed to a person.
const maxListed = 20

func (r *Report) printAsks(p *printer) {
	if len(r.Asks) == 0 {
		return
	}
	p.line("")
	p.line("Asks for, by what it imports; SDKs import much that a filter never uses:")
	for _, a := range r.Asks {
		p.entry(a.For, a.Note+" ("+few(a.Imports)+")")
	}
}

// few names the first of a list.
func few(names []string) string {
	const most = 6
	if len(names) > most {
		names = append(names[:most:most], fmt.Sprintf("%d more", len(names)-most))
	}
	return clean(strings.Join(names, ", "), 400)
}

func (r *Report) printUnserved(p *printer) {
	listed := 0
	for _, u := range r.Unserved {
		if strings.HasPrefix(u.What, importOf) {
			continue // it stands among the imports
		}
		if listed++; listed == 1 {
			p.line("")
			p.line("Will not work here, if it is used:")
		}
		p.entry(u.What, u.Why+" ("+few(u.By)+")")
	}
}

// amount is a size as a person reads it.
func amount(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 10<<10:
		return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

func functions(n int) string {
	if n == 1 {
		return "1 function"
	}
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s + " functions"
}

// short is a duration of two or three figures.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return max(d.Round(time.Microsecond), time.Microsecond).String()
}

// clean makes a module's own words fit for a terminal.
func clean(s string, most int) string {
	n := 0
	return strings.Map(func(r rune) rune {
		if n++; n > most {
			return -1
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
