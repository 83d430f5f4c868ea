package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// isWasm reports whether a layer of that media type is a module as it is: application/wasm, and what tools have called it before
// there was that name.
func isWasm(mediaType string) bool {
	return mediaType == "application/wasm" || strings.HasPrefix(mediaType, "application/vnd.wasm.") ||
		mediaType == "application/vnd.module.wasm.content.layer.v1+wasm"
}

// archives are the media types of layers of container images, and whether they are compressed.
var archives = map[string]bool{
	"application/vnd.oci.image.layer.v1.tar+gzip":       true,
	"application/vnd.docker.image.rootfs.diff.tar.gzip": true,
	"application/vnd.oci.image.layer.v1.tar":            false,
	"application/vnd.docker.image.rootfs.diff.tar":      false,
}

// maxEntries is the most files of an archive that are looked at.
const maxEntries = 10_000

// fromArchive takes plugin.wasm, of at most so many bytes, out of a layer.
func fromArchive(b []byte, compressed bool, most int64) ([]byte, error) {
	var r io.Reader = bytes.NewReader(b)
	if compressed {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("its layer: %w", err)
		}
		defer z.Close()
		r = z
	}
	// What a little archive unpacks to has a bound, too.
	left := &io.LimitedReader{R: r, N: most + most/4}
	t := tar.NewReader(left)
	var others []string
	for range maxEntries {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil, without(others)
		case left.N <= 0:
			return nil, fmt.Errorf("its layer is, unpacked, %w", tooLarge(most))
		case err != nil:
			return nil, fmt.Errorf("its layer: %w", err)
		}
		name := path.Clean("/" + h.Name)
		if name != "/plugin.wasm" || h.Typeflag != tar.TypeReg {
			if strings.HasSuffix(name, ".wasm") && len(others) < 5 {
				others = append(others, fmt.Sprintf("%.100q", name))
			}
			continue
		}
		code, err := readMost(t, most)
		if err != nil && left.N <= 0 {
			err = tooLarge(most)
		}
		if err != nil {
			return nil, fmt.Errorf("plugin.wasm in its layer: %w", err)
		}
		return code, nil
	}
	return nil, fmt.Errorf("its layer has more than %d files, and plugin.wasm is not the first of them", maxEntries)
}

func without(others []string) error {
	if len(others) == 0 {
		return errors.New("its layer has no file plugin.wasm")
	}
	return fmt.Errorf("its layer has no file plugin.wasm, but %s", strings.Join(others, ", "))
}
