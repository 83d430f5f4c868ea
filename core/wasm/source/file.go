package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/weirproxy/weir/core/wasm/abi"
)

// File reads a module from a file, or from a folder that holds one: plugin.wasm, as plugin archives of Traefik have it, or its
// only file *.wasm.
func File(path string) ([]byte, error) {
	code, path, err := Read(path)
	if err != nil {
		return nil, err
	}
	if err := abi.Form(code); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return code, nil
}

// Read is File without a look at whether it is a module. file is where it was found.
func Read(path string) (code []byte, file string, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, path, fmt.Errorf("there is no file %s", path)
	case err != nil:
		return nil, path, fmt.Errorf("read module: %w", err)
	case info.IsDir():
		if path, err = inFolder(path); err != nil {
			return nil, path, err
		}
		if info, err = os.Stat(path); err != nil {
			return nil, path, fmt.Errorf("read module: %w", err)
		}
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, path, fmt.Errorf("%s is not a file", path)
	case info.Size() > MaxModule:
		return nil, path, fmt.Errorf("%s is %w", path, tooLarge(MaxModule))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, path, fmt.Errorf("read module: %w", err)
	}
	defer f.Close()
	if code, err = readMost(f, MaxModule); err != nil { // it may grow meanwhile
		return nil, path, fmt.Errorf("read module: %s: %w", path, err)
	}
	return code, path, nil
}

// inFolder finds the one module of a folder.
func inFolder(folder string) (string, error) {
	list, err := os.ReadDir(folder)
	if err != nil {
		return "", fmt.Errorf("read module: %w", err)
	}
	var names []string
	for _, e := range list {
		switch {
		case e.Name() == "plugin.wasm":
			return filepath.Join(folder, e.Name()), nil
		case strings.HasSuffix(e.Name(), ".wasm") && !e.IsDir():
			names = append(names, e.Name())
		}
	}
	switch len(names) {
	case 0:
		return "", fmt.Errorf("there is no module (*.wasm) in the folder %s", folder)
	case 1:
		return filepath.Join(folder, names[0]), nil
	}
	if len(names) > 3 {
		names = append(names[:3], fmt.Sprintf("%d more", len(names)-3))
	}
	return "", fmt.Errorf("there are several modules in the folder %s (%s): name one of them", folder, strings.Join(names, ", "))
}
