package source

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crypto/x509"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/weirproxy/weir/core/coretest"
)

const (
	typeWasm   = "application/wasm"
	typeSolo   = "application/vnd.module.wasm.content.layer.v1+wasm"
	typeTarGz  = "application/vnd.oci.image.layer.v1.tar+gzip"
	typeDocker = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	typeTar    = "application/vnd.oci.image.layer.v1.tar"
)

// publisher puts artifacts into a registry.
type publisher struct {
	t *testing.T
	r *remote.Repository
}

func newPublisher(t *testing.T, address string) *publisher {
	t.Helper()
	r, err := remote.NewRepository(address + "/filters/tag")
	if err != nil {
		t.Fatal(err)
	}
	r.PlainHTTP, r.Client = true, New(Options{}).client(answerTime)
	return &publisher{t, r}
}

func (p *publisher) blob(mediaType string, b []byte) ocispec.Descriptor {
	p.t.Helper()
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	if err := p.r.Blobs().Push(context.Background(), d, bytes.NewReader(b)); err != nil {
		p.t.Fatal(err)
	}
	return d
}

func (p *publisher) tag(tag, mediaType string, manifest any) ocispec.Descriptor {
	p.t.Helper()
	b, err := json.Marshal(manifest)
	if err != nil {
		p.t.Fatal(err)
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	if err := p.r.Manifests().PushReference(context.Background(), d, bytes.NewReader(b), tag); err != nil {
		p.t.Fatal(err)
	}
	return d
}

// image publishes a manifest with layers.
func (p *publisher) image(tag string, layers ...ocispec.Descriptor) ocispec.Descriptor {
	p.t.Helper()
	mediaType, config := ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig
	for _, l := range layers {
		if l.MediaType == typeDocker {
			mediaType, config = "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.container.image.v1+json"
		}
	}
	return p.tag(tag, mediaType, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType, Config: p.blob(config, []byte("{}")), Layers: layers,
	})
}

var plainHTTP = PullOptions{PlainHTTP: true}

// pull pulls, gets what was pulled as a node does, and gets it once more from where nobody is asked.
func pull(t *testing.T, s *Store, address string, want byte) Pulled {
	t.Helper()
	p, err := s.Pull(context.Background(), address, plainHTTP)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p.Code, module(want)) || p.SHA256 != hashOf(module(want)) {
		t.Errorf("%+v", p)
	}
	if b, err := os.ReadFile(p.File); err != nil || !bytes.Equal(b, p.Code) {
		t.Error(err)
	}
	for _, pin := range []string{"", p.SHA256} {
		get(t, s, p.Address, pin, want)
	}
	again, err := s.Pull(context.Background(), strings.Replace(p.Address, "oci://", "oci://", 1), PullOptions{})
	if err != nil || !again.Here || again.SHA256 != p.SHA256 || again.Address != p.Address {
		t.Errorf("%+v %v", again, err)
	}
	return p
}

// Every form in which filters are published, in a real registry.
func TestPull(t *testing.T) {
	address := coretest.StartRegistry(t, coretest.RegistryOptions{})
	p := newPublisher(t, address)
	s, _ := newStore(t)
	base := "oci://" + address + "/filters/tag"

	plain := p.image("plain", p.blob(typeWasm, module(1)))
	p.image("solo", p.blob("application/vnd.module.wasm.config.v1+json", []byte(`{"type":"envoy_proxy"}`)), p.blob(typeSolo, module(2)))
	p.image("compat", p.blob(typeTarGz, archive(t, true, file{"runtime-config.json", nil}, file{"./plugin.wasm", module(3)})))
	docker := p.image("docker", p.blob(typeDocker, archive(t, true, file{"etc/x", nil}, file{"plugin.wasm", module(4)})))
	p.image("unpacked", p.blob(typeTar, archive(t, false, file{"/plugin.wasm", module(5)})))
	p.image("latest", p.blob("application/vnd.wasm.content.layer.v1+wasm", module(6)))

	got := pull(t, s, base+":plain", 1)
	if got.Address != base+":plain@"+plain.Digest.String() || got.Format != "an OCI artifact (application/wasm)" {
		t.Errorf("%+v", got)
	}
	pull(t, s, base+":solo", 2)
	if got := pull(t, s, base+":compat", 3); got.Format != "a container image" {
		t.Errorf("%+v", got)
	}
	pull(t, s, base+":docker", 4)
	pull(t, s, base+":unpacked", 5)
	if got := pull(t, s, base, 6); !strings.HasPrefix(got.Address, base+":latest@sha256:") {
		t.Errorf("%+v", got)
	}

	p.image("painted", p.blob("application/vnd.wasm.\x1b[2J\u009b1m"+strings.Repeat("x", 200), module(7)))
	if got := pull(t, s, base+":painted", 7); got.Format != "an OCI artifact (application/vnd.wasm. [2J 1m"+strings.Repeat("x", 71)+")" {
		t.Errorf("%q", got.Format)
	}

	// By digests: of a manifest, of a layer that is the module, of one that holds it; and of an index for several machines.
	fresh, _ := newStore(t)
	if got := pull(t, fresh, base+"@"+docker.Digest.String(), 4); got.Address != base+"@"+docker.Digest.String() {
		t.Errorf("%+v", got)
	}
	pull(t, fresh, base+"@sha256:"+hashOf(module(2)), 2)
	pull(t, fresh, base+"@"+digest.FromBytes(archive(t, false, file{"/plugin.wasm", module(5)})).String(), 5)
	pull(t, fresh, base+"@"+digest.FromBytes(archive(t, true, file{"runtime-config.json", nil}, file{"./plugin.wasm", module(3)})).String(), 3)
	amd := p.image("amd", p.blob(typeTarGz, archive(t, true, file{"bin/sh", nil})))
	amd.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	plain.Platform = &ocispec.Platform{OS: "wasi", Architecture: "wasm"}
	proof := docker
	proof.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	versioned := specs.Versioned{SchemaVersion: 2}
	index := p.tag("index", ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: versioned, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{amd, plain}})
	pull(t, s, base+":index", 1)
	plain.Platform = nil
	p.tag("built", ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: versioned, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{proof, plain}})
	pull(t, s, base+":built", 1)

	bad := func(ref, want string) {
		t.Helper()
		_, err := fresh.Pull(context.Background(), base+ref, plainHTTP)
		fails(t, err, "pull "+base+ref+": "+want)
	}
	p.image("two", p.blob(typeWasm, module(1)), p.blob(typeWasm, module(2)))
	p.image("text", p.blob("text/plain", []byte("hello")))
	p.image("nothing", p.blob(typeTarGz, archive(t, true, file{"app/filter.wasm", module(1)})))
	p.image("bash", p.blob(typeTarGz, archive(t, true, file{"bin/bash", nil})))
	p.image("notgzip", p.blob(typeTarGz, []byte("text that is not compressed")))
	p.image("notwasm", p.blob(typeWasm, []byte("(module)")))
	p.image("bomb", p.blob(typeTarGz, squeeze(t, append(archive(t, false, file{"plugin.wasm", make([]byte, 2<<20+1)}), 0))))
	p.image("deepbomb", p.blob(typeTarGz, squeeze(t, archive(t, false, file{"x", make([]byte, 3<<20)}, file{"plugin.wasm", module(1)}))))
	p.tag("many", ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: versioned, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{amd, docker}})
	p.tag("nested", ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: versioned, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{index}})
	bad(":gone", "the registry has no such artifact")
	bad("@sha256:"+hashOf([]byte("gone")), "the registry has no such artifact")
	bad(":two", "it has 2 layers that are WebAssembly: which one is meant? Its digest in the address says so")
	bad(":text", `none of its layers is WebAssembly, nor is the last one an archive that could hold plugin.wasm: "text/plain"`)
	bad(":nothing", `its layer has no file plugin.wasm, but "/app/filter.wasm"`)
	bad(":bash", "its layer has no file plugin.wasm")
	bad(":notgzip", "its layer: gzip: invalid header")
	bad(":notwasm", "not a WebAssembly module: it is WebAssembly text (.wat): wat2wasm makes a module of it")
	bad(":bomb", "plugin.wasm in its layer: larger than 2 MiB")
	bad(":deepbomb", "its layer is, unpacked, larger than 2 MiB")
	bad(":many", "it is an index of 2 images, none of them the one for WebAssembly")
	bad(":nested", "it is an index of indexes")

	_, err := fresh.Pull(context.Background(), base+":plain", PullOptions{})
	fails(t, err, "pull "+base+":plain: "+address+" does not speak TLS; --plain-http asks it without")
	for ref, want := range map[string]string{
		"https://x/y": "https://x/y is no oci:// address",
		"oci://x":     "oci://x is no address of an artifact: oci://registry/repository:tag or …@sha256:…",
		"oci://x/y@sha512:" + strings.Repeat("0", 128): "oci://x/y@sha512:" + strings.Repeat("0", 128) + ": digests are of sha256",
	} {
		_, err := fresh.Pull(context.Background(), ref, plainHTTP)
		fails(t, err, want)
	}
	nowhere, _ := newStore(t, func(o *Options) { o.StateDir = "" })
	_, err = nowhere.Pull(context.Background(), base, plainHTTP)
	fails(t, err, "there is no folder to put modules into: state_dir is not set")
}

// What a node says of modules that were not pulled.
func TestNotPulled(t *testing.T) {
	s, _ := newStore(t, func(o *Options) { o.StateDir = filepath.Join(o.StateDir, "it's") })
	address := "oci://registry.example/filters/tag:v1@sha256:" + hashOf(module(1))
	_, err := s.Get(address, "")
	fails(t, err, address+" has not been pulled yet; this does it: weir filter pull --state-dir '"+strings.Replace(s.o.StateDir, "'", `'\''`, 1)+"' "+address)
	if err := s.keep.put(hashOf(module(1)), module(1)); err != nil {
		t.Fatal(err)
	}
	get(t, s, address, "", 1)
	pin := hashOf(module(2))
	_, err = s.Get(address, pin)
	fails(t, err, address+" is not the module that is pinned: its sha256 is "+hashOf(module(1))+", not "+pin)
	if err := os.WriteFile(s.keep.file(hashOf(module(1))+".wasm"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = s.Get(address, ""); err == nil || !strings.Contains(err.Error(), "cannot be read ("+s.keep.file(hashOf(module(1))+".wasm")+" is damaged); this does it: weir filter pull") {
		t.Error(err)
	}
	_, err = s.Get("oci://registry.example/x:v1", "")
	fails(t, err, "oci://registry.example/x:v1 does not end with the digest of what is meant: weir filter pull finds it out")
	nowhere, _ := newStore(t, func(o *Options) { o.StateDir = "" })
	_, err = nowhere.Get(address, "")
	fails(t, err, `an oci:// address needs the key "state_dir" at the top of the file: pulled modules are there`)
}

// A registry that wants a password, over TLS: it comes from docker's file or from the options, and helpers are not run.
func TestPullPassword(t *testing.T) {
	ca := coretest.NewAuthority(t)
	own := ca.Issue(nil, nil, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	address := coretest.StartRegistry(t, coretest.RegistryOptions{Certificate: &own, Username: "ann", Password: "secret"})
	s, log := newStore(t, func(o *Options) { o.Roots = ca.Pool() })
	p := newPublisher(t, address)
	p.r.PlainHTTP = false
	p.r.Client = &auth.Client{
		Client: s.client(answerTime), Credential: auth.StaticCredential(address, auth.Credential{Username: "ann", Password: "secret"}),
	}
	p.image("v1", p.blob(typeWasm, module(1)))
	ref := "oci://" + address + "/filters/tag:v1"
	folder := t.TempDir()
	t.Setenv("DOCKER_CONFIG", folder)
	config := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, "config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wants := "pull " + ref + ": " + address + " wants to know who asks: docker login writes that to " + filepath.Join(folder, "config.json") +
		", or give --username and --password-stdin (credential helpers are not run)"
	_, err := s.Pull(context.Background(), ref, PullOptions{})
	fails(t, err, wants)

	// A helper that would be seen if it ran.
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-tell"), []byte("#!/bin/sh\ntouch "+bin+"/ran\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	config(`{"credsStore": "tell", "credHelpers": {"` + address + `": "tell"}}`)
	_, err = s.Pull(context.Background(), ref, PullOptions{})
	fails(t, err, wants)
	if _, err := os.Stat(filepath.Join(bin, "ran")); err == nil {
		t.Error("the helper ran")
	}
	config("{")
	if _, err = s.Pull(context.Background(), ref, PullOptions{}); err == nil || !strings.HasPrefix(err.Error(), "read "+folder) {
		t.Error(err)
	}
	_, err = s.Pull(context.Background(), ref, PullOptions{Username: "ann", Password: "wrong"})
	fails(t, err, "pull "+ref+": "+address+" does not take this username and password")

	got, err := s.Pull(context.Background(), ref, PullOptions{Username: "ann", Password: "secret"})
	if err != nil || !bytes.Equal(got.Code, module(1)) {
		t.Error(err)
	}
	config(`{"auths": {"https://` + address + `/v1/": {"auth": "` + base64.StdEncoding.EncodeToString([]byte("ann:secret")) + `"}}}`)
	if got, err = s.Pull(context.Background(), ref, PullOptions{}); err != nil || !bytes.Equal(got.Code, module(1)) {
		t.Error(err)
	}
	if log.String() != "" {
		t.Error(log)
	}
}
