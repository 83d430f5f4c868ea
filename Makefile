# weir's tasks. `make` alone lists them. What a task lacks it fetches, or says in one line how to get it.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
BIN      = build/weir
WASM     = build/wasm

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
PEBBLE      = github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1
ASC         = npm:assemblyscript@0.28.20
COVER_FLOOR = 85

.DEFAULT_GOAL := help

help: ## list the tasks
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

wasm: ## build the example filters into build/wasm
	@sh examples/build.sh $(WASM)

build: wasm ## build the binary, static, into build/weir
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/weir

run: build ## build and serve the demo on :8080
	@$(BIN) run

test: tools wasm ## the whole suite, floors and examples included
	$(GO) vet ./...
	$(GO) test -timeout 10m ./...
	cd wasm-sdk/go && $(GO) vet ./... && $(GO) test ./...

race: tools wasm ## the suite under the race detector
	$(GO) test -race -timeout 40m ./...

cover: tools wasm ## coverage of core; fails below its floor
	@sh .ci/cover $(COVER_FLOOR)

lint: ## gofmt, vet, staticcheck
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "not formatted:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

fuzz: ## every fuzz target for 30 s each
	@sh .ci/fuzz 30s

bench: build ## weir, nginx and HAProxy as plain proxies in one run; results in bench/results
	$(GO) run ./bench

bench-quick: build ## the same in under 90 s
	$(GO) run ./bench -quick

bench-bulk: build ## one body of 10 GB, up and down, through weir, nginx and HAProxy: throughput and memory
	$(GO) run ./bench -bulk 10000000000

bench-filters: ## what a WebAssembly filter costs a request, beside the host that Traefik's plugins run on, and what metering costs
	$(GO) run ./bench/filters

bench-filters-quick: ## the same in under a minute, once its guests are built
	$(GO) run ./bench/filters -quick

bench-slow: build ## ordinary traffic through weir beside 1,000 slow clients
	$(GO) run ./bench -slow

conform: build ## malformed requests and hostile answers against weir, nginx and HAProxy; results in bench/conform
	$(GO) run ./bench/conform

score: build tools ## every row of the scoreboard against its floor, for an hour or so (score-C3: that row); results in bench/results/scoreboard.md
	$(GO) run ./bench/score

score-quick: build tools ## the same rows, as short as in the suite
	$(GO) run ./bench/score -quick

score-%: build
	$(GO) run ./bench/score $*

tools: ## fetch what the suite needs beside Go: redis-server, docker-registry, curl, pebble as a certificate authority, compilers for guests
	@GO='$(GO)' sh .ci/tools redis-server docker-registry curl $(PEBBLE) clang lld rustc libstd-rust-dev-wasm32 $(ASC)

bench-tools: ## fetch what the harness needs beside Go: nginx, haproxy, wrk and slowhttptest
	@sh .ci/tools nginx haproxy wrk slowhttptest

clean: ## remove what was built
	rm -rf build coverage.out

.PHONY: help wasm build run test race cover lint fuzz bench bench-quick bench-bulk bench-filters bench-filters-quick bench-slow conform score score-quick tools bench-tools clean
