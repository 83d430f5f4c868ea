package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// filterCommands are what scripts about filters need.
func filterCommands(t *testing.T) map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		// registry starts one with http.wasm in it, as filters/http:v1, and sets REGISTRY and DIGEST; with an argument it asks
		// for that user's password, which is secret.
		"registry": func(ts *testscript.TestScript, _ bool, args []string) {
			code, err := os.ReadFile(ts.MkAbs("http.wasm"))
			ts.Check(err)
			o := coretest.RegistryOptions{}
			if len(args) > 0 {
				o.Username, o.Password = args[0], "secret"
			}
			address := coretest.StartRegistry(t, o)
			ts.Setenv("REGISTRY", address)
			if len(args) == 0 {
				ts.Setenv("DIGEST", publish(ts, address, code))
			}
		},
		// serve gives the script's files over TLS, sets SERVER, and has weir trust it; serve stop ends it.
		"serve": func(ts *testscript.TestScript, _ bool, args []string) {
			if len(args) > 0 {
				ts.Value(serverKey{}).(*httptest.Server).Close()
				return
			}
			s := ts.Value(serverKey{}).(*httptest.Server)
			s.Config.Handler = http.FileServer(http.Dir(ts.MkAbs(".")))
			s.StartTLS()
			ts.Defer(s.Close)
			file := ts.MkAbs("roots.pem")
			block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
			ts.Check(os.WriteFile(file, block, 0o600))
			ts.Setenv("SSL_CERT_FILE", file)
			ts.Setenv("SERVER", s.URL)
		},
		// subst writes a file anew with the environment's values.
		"subst": func(ts *testscript.TestScript, _ bool, args []string) {
			text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
			ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
		},
	}
}

// serverKey finds the server that a script may start.
type serverKey struct{}

func publish(ts *testscript.TestScript, address string, code []byte) string {
	r, err := remote.NewRepository(address + "/filters/http")
	ts.Check(err)
	r.PlainHTTP = true
	push := func(mediaType string, b []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
		ts.Check(r.Blobs().Push(context.Background(), d, bytes.NewReader(b)))
		return d
	}
	b, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: push("application/vnd.wasm.config.v0+json", []byte("{}")), Layers: []ocispec.Descriptor{push("application/wasm", code)},
	})
	ts.Check(err)
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(b), Size: int64(len(b))}
	ts.Check(r.Manifests().PushReference(context.Background(), d, bytes.NewReader(b), "v1"))
	return d.Digest.String()
}

// writeModules gives scripts guests: one of each ABI, and some that are odd.
func writeModules(dir string) error {
	i32s := func(n int) []byte { return bytes.Repeat([]byte{asm.I32}, n) }
	var h asm.Module
	h.Import("http_handler", "log", i32s(3), nil)
	h.Memory(1, -1)
	h.Export("memory", 2, 0)
	h.Export("handle_request", 0, h.Func(nil, asm.T(asm.I64), nil, asm.Const64(1)))
	h.Export("handle_response", 0, h.Func(i32s(2), nil, nil))
	h.Custom("producers", []byte("\x01\x0cprocessed-by\x01\x03asm\x011"))

	var p asm.Module
	p.Import("env", "proxy_log", i32s(3), i32s(1))
	p.Import("env", "proxy_http_call", i32s(10), i32s(1))
	p.Import("env", "proxy_redis_init", i32s(7), i32s(1))
	p.Memory(1, -1)
	p.Export("memory", 2, 0)
	p.Export("proxy_abi_version_0_2_100", 0, p.Func(nil, nil, nil))
	p.Export("proxy_on_context_create", 0, p.Func(i32s(2), nil, nil))
	p.Export("proxy_on_request_headers", 0, p.Func(i32s(3), i32s(1), nil, asm.Const32(0)))
	p.Export("proxy_on_http_call_response", 0, p.Func(i32s(5), nil, nil))
	p.Export("proxy_on_new_connection", 0, p.Func(i32s(1), i32s(1), nil, asm.Const32(0)))

	var spin asm.Module
	spin.Memory(1, -1)
	spin.Export("memory", 2, 0)
	spin.Export("handle_request", 0, spin.Func(nil, asm.T(asm.I64), nil, asm.Const64(1)))
	spin.Export("handle_response", 0, spin.Func(i32s(2), nil, nil))
	spin.Export("_start", 0, spin.Func(nil, nil, nil, asm.Loop(asm.None, asm.Br(0))))
	var picky asm.Module // about the length of its configuration
	picky.Memory(1, -1)
	picky.Export("memory", 2, 0)
	picky.Export("proxy_abi_version_0_2_1", 0, picky.Func(nil, nil, nil))
	picky.Export("proxy_on_configure", 0, picky.Func(i32s(2), i32s(1), nil, asm.Get(1), asm.Const32(4), asm.Op(0x46)))
	for name, m := range map[string]*asm.Module{"http.wasm": &h, "proxy.wasm": &p, "spin.wasm": &spin, "picky.wasm": &picky} {
		if err := os.WriteFile(filepath.Join(dir, name), m.Bytes(), 0o600); err != nil {
			return err
		}
	}
	return nil
}
