# Each target is short and calls Go. `make` alone builds.
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZ    ?= 30s

.PHONY: build run test test-tls test-ktls tls-scan browser peers race fuzz lint bench attack conformance docs check scale

build: ## bin/millrace
	$(GO) build -ldflags "-X main.version=$(VERSION)" -o bin/millrace ./cmd/millrace

run: build ## the demonstration
	./bin/millrace demo

peers: ## what the end-to-end tests use, installed where that is allowed
	$(GO) run ./bench/peers

test: peers build ## everything but the race detector's long run and the benchmarks
	$(GO) vet ./...
	$(GO) test -timeout 12m ./...

test-tls: peers build ## the end-to-end tests of HTTP, TCP and WebSocket once more, their clients coming by TLS
	MILLRACE_E2E_TLS=1 $(GO) test -count=1 -timeout 12m ./cmd/millrace

test-ktls: ## the tests of kernel TLS, with Debian's kernel under qemu; a few minutes
	$(GO) run ./bench/ktls

tls-scan: peers build ## every check of testssl.sh, and sslscan; two minutes
	MILLRACE_TLS_SCAN=full $(GO) test -count=1 -v -run '^TestTLSScan' ./cmd/millrace

browser: build ## Chromium, installed where that is allowed: a page over HTTP/2, a WebSocket, gRPC-Web
	$(GO) run ./bench/peers chromium
	$(GO) test -count=1 -v -run '^TestTLSBrowser$$' ./cmd/millrace

race: peers build
	$(GO) test -race -timeout 20m ./...

fuzz: ## every fuzz target for FUZZ each
	$(GO) run ./bench/fuzzall -time $(FUZZ)

lint:
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.7.0 ./...

bench: build ## the benchmark suite; writes docs/benchmarks.md
	$(GO) run ./bench -install -out docs/benchmarks.md

scale: ## 10,000 clusters with 100,000 hosts: start, memory, updates, flapping; 10,000 names
	MILLRACE_SCALE=1 $(GO) test -count=1 -v -run 'TestScale' ./cmd/internal/server

attack: build ## the abuse suite against bin/millrace; go run ./bench/attack -help tells how to aim it elsewhere
	$(GO) run ./bench/attack

conformance: peers build ## the Connect project's suite, 12,000 calls of gRPC, gRPC-Web and Connect through bin/millrace
	$(GO) run ./bench/conformance

docs: ## regenerates what is generated
	$(GO) generate ./...

check: lint test test-tls
