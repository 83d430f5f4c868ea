package abi

import (
	"bytes"
	"errors"
	"fmt"
	"unicode"
)

// magic begins a core module: the magic number and version 1.
var magic = []byte("\x00asm\x01\x00\x00\x00")

// ErrForm is what every error of Form is: the bytes are no WebAssembly module.
var ErrForm = errors.New("not a WebAssembly module")

// Form says why code is no core module, nil if it begins as one: what it seems to be instead, and what to do about it where
// that is known.
func Form(code []byte) error {
	switch {
	case bytes.HasPrefix(code, magic):
		return nil
	case len(code) == 0:
		return fmt.Errorf("%w: it is empty", ErrForm)
	case len(code) < len(magic) && bytes.HasPrefix(magic, code):
		return fmt.Errorf("%w: it is cut off after %d bytes", ErrForm, len(code))
	case bytes.HasPrefix(code, magic[:4]) && len(code) >= 8:
		if code[6] == 1 && code[7] == 0 {
			return fmt.Errorf("%w of the core kind: it is a component of the component model, which no proxy's filter ABI uses; build a core module (Rust: wasm32-wasip1)", ErrForm)
		}
		return fmt.Errorf("%w of version 1: its version is %d", ErrForm, uint(code[4])|uint(code[5])<<8|uint(code[6])<<16|uint(code[7])<<24)
	}
	for _, f := range forms {
		if len(code) >= f.at && bytes.HasPrefix(code[f.at:], []byte(f.begin)) {
			return fmt.Errorf("%w: it is %s", ErrForm, f.says)
		}
	}
	if says := text(code); says != "" {
		return fmt.Errorf("%w: it is %s", ErrForm, says)
	}
	return fmt.Errorf("%w: it does not begin with the magic number and version 1", ErrForm)
}

// text looks at what comes after blanks and comments of the text format.
func text(code []byte) string {
	for range 100 {
		code = bytes.TrimLeft(code, " \t\r\n\ufeff")
		switch {
		case bytes.HasPrefix(code, []byte(";;")):
			_, code, _ = bytes.Cut(code, []byte("\n"))
		case bytes.HasPrefix(code, []byte("(;")):
			_, code, _ = bytes.Cut(code, []byte(";)"))
		case bytes.HasPrefix(code, []byte("(")):
			return "WebAssembly text (.wat): wat2wasm makes a module of it"
		case bytes.HasPrefix(code, []byte("<")):
			return "HTML or XML: the page of an error, perhaps"
		case bytes.HasPrefix(code, []byte("{")):
			return "JSON"
		default:
			if head := code[:min(len(code), 64)]; len(head) > 0 && bytes.IndexFunc(head, func(r rune) bool { return !unicode.IsPrint(r) && !unicode.IsSpace(r) }) < 0 {
				return "text"
			}
			return ""
		}
	}
	return ""
}

// forms are what is given instead of a module now and then.
var forms = []struct {
	at          int
	begin, says string
}{
	{0, "\x1f\x8b", "compressed by gzip: unpack it first"},
	{0, "PK\x03\x04", "a zip archive: unpack it first"},
	{0, "\x28\xb5\x2f\xfd", "compressed by zstd: unpack it first"},
	{0, "\xfd7zXZ\x00", "compressed by xz: unpack it first"},
	{0, "BZh", "compressed by bzip2: unpack it first"},
	{257, "ustar", "a tar archive: unpack it first"},
	{0, "!<arch>", "an archive of object files: link it first"},
	{0, "\x7fELF", "a native program or library (ELF)"},
	{0, "version https://git-lfs", "a pointer of Git LFS: git lfs pull fetches the module"},
}
