package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"
	"oras.land/oras-go/v2/registry/remote/retry"

	"github.com/weirproxy/weir/core/wasm/abi"
)

const (
	pullTime    = 5 * time.Minute
	maxManifest = 4 << 20
)

// PullOptions says how a registry is asked. The zero value asks over TLS as whom ~/.docker/config.json says, or as nobody.
type PullOptions struct {
	Username, Password string
	PlainHTTP          bool // for a registry on this machine, or one that is trusted all the same
}

// Pulled is what Pull has found.
type Pulled struct {
	Address string // as the configuration wants it: with the digest
	SHA256  string // of the module
	Code    []byte
	File    string // where it is kept
	Format  string // what it was wrapped in
	Here    bool   // it was here before, and nobody was asked
}

// Pull brings the module of an artifact, oci://registry/repository[:tag][@sha256:…], into the folder that Get reads: a manifest
// with one layer of a WebAssembly media type, a container image that has plugin.wasm at its root, an index of one of those, or
// such a layer itself. All that comes is proved by its digest. With a digest that is here already nobody is asked.
func (s *Store) Pull(ctx context.Context, address string, o PullOptions) (Pulled, error) {
	if s.keep.dir == "" {
		return Pulled{}, errors.New("there is no folder to put modules into: state_dir is not set")
	}
	text, ok := strings.CutPrefix(address, "oci://")
	if !ok {
		return Pulled{}, fmt.Errorf("%s is no oci:// address", address)
	}
	ref, err := registry.ParseReference(text)
	if err != nil {
		return Pulled{}, fmt.Errorf("%s is no address of an artifact: oci://registry/repository:tag or …@sha256:…", address)
	}
	if ref.Reference == "" {
		ref.Reference = "latest"
		text += ":latest"
	}
	pinned, err := ref.Digest()
	exact := err == nil
	if exact && pinned.Algorithm() != digest.SHA256 {
		return Pulled{}, fmt.Errorf("%s: digests are of sha256", address)
	}
	if exact {
		if code, err := s.keep.digest(pinned.Encoded()); err == nil {
			return s.tell(address, code, "", true), nil
		}
	}
	ctx, cancel := s.context(ctx, pullTime)
	defer cancel()
	p := puller{most: s.most, repository: &remote.Repository{Reference: ref, PlainHTTP: o.PlainHTTP, MaxMetadataBytes: maxManifest}}
	if p.repository.Client, err = s.registryClient(o, ref); err != nil {
		return Pulled{}, err
	}
	found, err := p.reference(ctx, ref.Reference)
	if err == nil {
		err = abi.Form(p.code)
	}
	if err == nil {
		err = s.keepPulled(text, &p, found)
	}
	if err != nil {
		return Pulled{}, fmt.Errorf("pull %s: %w", address, explain(err, ref, o))
	}
	if !exact {
		text += "@" + found.String()
	}
	return s.tell("oci://"+text, p.code, p.format, false), nil
}

func (s *Store) tell(address string, code []byte, format string, here bool) Pulled {
	hash := hashOf(code)
	return Pulled{Address: address, SHA256: hash, Code: code, File: s.keep.file(hash + ".wasm"), Format: format, Here: here}
}

// keepPulled writes the module, then what stands for it: the digest that was asked for and those on the way to it.
func (s *Store) keepPulled(text string, p *puller, found digest.Digest) error {
	hash, now := hashOf(p.code), time.Now()
	err := s.keep.put(hash, p.code)
	for _, d := range append(p.way, found) {
		if err == nil && d.Encoded() != hash {
			err = s.keep.note(d.String(), entry{Address: "oci://" + text, SHA256: hash, Fetched: now, Checked: now})
		}
	}
	return err
}

// registryClient asks as who the options say, or the file of docker's does. Programs that it names for passwords are not run.
func (s *Store) registryClient(o PullOptions, ref registry.Reference) (*auth.Client, error) {
	var base http.RoundTripper = s.transport(3 * answerTime)
	if !o.PlainHTTP {
		base = onlyTLS{base}
	}
	c := &auth.Client{
		Client: &http.Client{Transport: &retry.Transport{Base: base, Policy: policy}, CheckRedirect: checkRedirect},
		Header: http.Header{"User-Agent": {"weir"}},
		Cache:  auth.NewCache(),
	}
	if o.Username != "" || o.Password != "" {
		c.Credential = auth.StaticCredential(ref.Host(), auth.Credential{Username: o.Username, Password: o.Password})
		return c, nil
	}
	file, err := os.ReadFile(dockerConfig())
	if err != nil {
		return c, nil // without the file as nobody
	}
	store, err := credentials.NewMemoryStoreFromDockerConfig(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dockerConfig(), err)
	}
	c.Credential = func(ctx context.Context, host string) (auth.Credential, error) {
		if host == "registry-1.docker.io" {
			host = "index.docker.io" // the name under which docker login writes it
		}
		return store.Get(ctx, host)
	}
	return c, nil
}

// policy tries again what may well go better then. A plain 500 does not: it is what the reference registry says of a layer that
// is asked for as if it were a manifest.
func policy() retry.Policy {
	return &retry.GenericPolicy{
		Retryable: func(res *http.Response, err error) (bool, error) {
			if res != nil && res.StatusCode == http.StatusInternalServerError {
				return false, nil
			}
			return retry.DefaultPredicate(res, err)
		},
		Backoff: retry.DefaultBackoff, MinWait: 200 * time.Millisecond, MaxWait: 3 * time.Second, MaxRetry: 3,
	}
}

func dockerConfig() string {
	folder := os.Getenv("DOCKER_CONFIG")
	if folder == "" {
		home, _ := os.UserHomeDir()
		folder = filepath.Join(home, ".docker")
	}
	return filepath.Join(folder, "config.json")
}

// onlyTLS refuses what a registry would have asked in the clear: a redirect, or where to log in.
type onlyTLS struct{ next http.RoundTripper }

func (t onlyTLS) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" {
		return nil, fmt.Errorf("%s is not https; --plain-http allows it", req.URL.Redacted())
	}
	return t.next.RoundTrip(req)
}

// explain adds what to do about an error, where that is known.
func explain(err error, ref registry.Reference, o PullOptions) error {
	text := plain(err).Error()
	switch {
	case errors.Is(err, errdef.ErrNotFound):
		return errors.New("the registry has no such artifact")
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%s does not speak TLS; --plain-http asks it without", ref.Host())
	case errors.Is(err, auth.ErrBasicCredentialNotFound) || strings.Contains(text, "response status code 401"):
		if o.Username == "" {
			return fmt.Errorf("%s wants to know who asks: docker login writes that to %s, or give --username and --password-stdin (credential helpers are not run)",
				ref.Host(), dockerConfig())
		}
		return fmt.Errorf("%s does not take this username and password", ref.Host())
	}
	if i := strings.IndexAny(text, "\r\n"); i >= 0 {
		text = text[:i]
	}
	const most = 400 // a registry's own words are among it
	if len(text) > most {
		text = text[:most] + "…"
	}
	return errors.New(strings.Map(printable, text))
}

func printable(r rune) rune {
	if !unicode.IsPrint(r) {
		return ' '
	}
	return r
}

// shown is a word of a registry's, made fit for a terminal.
func shown(s string) string {
	const most = 100
	if len(s) > most {
		s = s[:most]
	}
	return strings.Map(printable, strings.ToValidUTF8(s, ""))
}

// puller walks from a reference to a module.
type puller struct {
	repository *remote.Repository
	most       int64           // bytes of a module
	way        []digest.Digest // of what lead to the module: a manifest within an index, a layer
	code       []byte
	format     string
}

// reference fetches what a tag or a digest stands for.
func (p *puller) reference(ctx context.Context, ref string) (digest.Digest, error) {
	desc, rc, err := p.repository.Manifests().FetchReference(ctx, ref)
	if d, no := digest.Parse(ref); err != nil && no == nil && notManifest(err) {
		if err := p.blob(ctx, d); !errors.Is(err, errdef.ErrNotFound) {
			return d, err
		}
	}
	if err != nil {
		return "", err
	}
	defer rc.Close()
	b, err := readAll(rc, desc, maxManifest)
	if err != nil {
		return "", fmt.Errorf("its manifest: %w", err)
	}
	return digest.FromBytes(b), p.manifest(ctx, b, desc.MediaType, 0)
}

// notManifest reports whether a registry may mean by an error that there is no manifest of that digest: registries differ.
func notManifest(err error) bool {
	var answer *errcode.ErrorResponse
	return errors.Is(err, errdef.ErrNotFound) || errors.As(err, &answer) &&
		(answer.StatusCode == http.StatusInternalServerError || answer.StatusCode == http.StatusBadRequest)
}

// readAll reads what a descriptor says, proves it, and is not talked into more memory than most.
func readAll(r io.Reader, desc ocispec.Descriptor, most int64) ([]byte, error) {
	if desc.Size > most || desc.Size < 0 {
		return nil, fmt.Errorf("%d bytes are too large, the most is %d", desc.Size, most)
	}
	// In steps as it comes, rather than at once because somebody says so.
	v := content.NewVerifyReader(r, desc)
	b, err := io.ReadAll(v)
	if err != nil {
		return nil, err
	}
	return b, v.Verify()
}

// blob is a layer that was named by its digest.
func (p *puller) blob(ctx context.Context, d digest.Digest) error {
	desc, err := p.repository.Blobs().Resolve(ctx, d.String())
	if err != nil {
		return err
	}
	desc.Digest = d
	b, err := p.fetch(ctx, desc)
	if err != nil {
		return err
	}
	compressed := bytes.HasPrefix(b, []byte("\x1f\x8b"))
	if compressed || len(b) > 262 && string(b[257:262]) == "ustar" {
		p.code, err = fromArchive(b, compressed, p.most)
		p.format = "a layer of a container image"
		return err
	}
	p.code, p.format = b, "a layer"
	return nil
}

func (p *puller) fetch(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if desc.Size > p.most {
		return nil, fmt.Errorf("its layer is %w", tooLarge(p.most))
	}
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("its layer has a digest that is none: %w", err)
	}
	rc, err := p.repository.Blobs().Fetch(ctx, desc)
	if err != nil {
		return nil, fmt.Errorf("its layer: %w", err)
	}
	defer rc.Close()
	b, err := readAll(rc, desc, p.most)
	if err != nil {
		return nil, fmt.Errorf("its layer: %w", err)
	}
	return b, nil
}

// manifest finds the layer that holds the module.
func (p *puller) manifest(ctx context.Context, b []byte, mediaType string, depth int) error {
	var m struct {
		MediaType string               `json:"mediaType"`
		Layers    []ocispec.Descriptor `json:"layers"`
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("its manifest is not JSON as it should be (%s)", shown(mediaType))
	}
	if len(m.Manifests) > 0 && len(m.Layers) == 0 {
		if depth > 0 {
			return errors.New("it is an index of indexes")
		}
		return p.index(ctx, m.Manifests)
	}
	var wasm []ocispec.Descriptor
	var types []string
	for _, l := range m.Layers {
		if isWasm(l.MediaType) {
			wasm = append(wasm, l)
		}
		if len(types) < 5 {
			types = append(types, fmt.Sprintf("%.100q", l.MediaType))
		}
	}
	switch {
	case len(m.Layers) == 0:
		return fmt.Errorf("its manifest lists no layers (%s)", shown(mediaType))
	case len(wasm) > 1:
		return fmt.Errorf("it has %d layers that are WebAssembly: which one is meant? Its digest in the address says so", len(wasm))
	case len(wasm) == 1:
		p.way = append(p.way, wasm[0].Digest)
		p.format = "an OCI artifact (" + shown(wasm[0].MediaType) + ")"
		var err error
		p.code, err = p.fetch(ctx, wasm[0])
		return err
	}
	// The variant of Istio that container registries of old take: it must be the last layer there, and mostly is the only one.
	last := m.Layers[len(m.Layers)-1]
	compressed, known := archives[last.MediaType]
	if !known {
		return fmt.Errorf("none of its layers is WebAssembly, nor is the last one an archive that could hold plugin.wasm: %s", strings.Join(types, ", "))
	}
	archive, err := p.fetch(ctx, last)
	if err != nil {
		return err
	}
	p.way = append(p.way, last.Digest)
	p.format = "a container image"
	p.code, err = fromArchive(archive, compressed, p.most)
	return err
}

// index goes on with the one manifest that is for WebAssembly, or the only one that is no attestation.
func (p *puller) index(ctx context.Context, all []ocispec.Descriptor) error {
	var wasm, images []ocispec.Descriptor
	for _, d := range all {
		if d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" {
			continue
		}
		images = append(images, d)
		if d.Platform != nil && strings.HasPrefix(d.Platform.Architecture, "wasm") {
			wasm = append(wasm, d)
		}
	}
	if len(wasm) == 0 {
		wasm = images
	}
	if len(wasm) != 1 {
		return fmt.Errorf("it is an index of %d images, none of them the one for WebAssembly", len(all))
	}
	d := wasm[0]
	rc, err := p.repository.Manifests().Fetch(ctx, d)
	if err != nil {
		return fmt.Errorf("a manifest of its index: %w", err)
	}
	defer rc.Close()
	b, err := readAll(rc, d, maxManifest)
	if err != nil {
		return fmt.Errorf("a manifest of its index: %w", err)
	}
	p.way = append(p.way, d.Digest)
	return p.manifest(ctx, b, d.MediaType, 1)
}
