#!/bin/sh
# Builds the filters of all examples into the directory $1, NN-name into name.wasm, with stock Go. The one that the demo is
# served with is copied to where the binary embeds it from.
set -eu
cd "$(dirname "$0")/.."
out=${1:-build/wasm}
mkdir -p "$out"
out=$(cd "$out" && pwd)
for mod in examples/[0-9]*/go.mod; do
	dir=$(dirname "$mod")
	name=$(basename "$dir" | sed 's/^[0-9]*-//')
	(cd "$dir" && GOWORK=off GOFLAGS= GOOS=wasip1 GOARCH=wasm "${GO:-go}" build -buildmode=c-shared -trimpath -ldflags='-s -w' -o "$out/$name.wasm" .)
done
cp "$out/tag-filter.wasm" examples/demo/wasm/
