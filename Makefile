# One target for each thing that is done here; CONTRIBUTING.md tells more, INTERFACES the contract.
# Each target installs what it lacks on Debian 12 as root, and asks no network when nothing is missing.

SHELL := /bin/sh
.DEFAULT_GOAL := build
.PHONY: run test build install lint fuzz soak bench web clean

# make run
export PORT ?= 8080
export SPEAKERS ?= 6
export DIR ?= var/run-demo
export REDIS_URL ?=
export ANNOUNCE ?= 1
# make fuzz, make soak, make bench
export TIME NAME FAST

# nolibopusfile: we use libopus alone. buildvcs: the version is stamped below, and a clone that
# belongs to another user must build too.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false -tags=nolibopusfile)

WITH := tools/with.sh
VERSION = $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

build: ## bin/streamer, bin/relay, bin/client and the tools
	@$(WITH) go opus alsa -- go build -ldflags '-X dongthanh/internal/program.stamp=$(VERSION)' -o bin/ ./streamer ./relay ./client ./internal/demo ./tools/...

# make install; package builders set DESTDIR.
PREFIX ?= /usr/local
DESTDIR ?=

install: build ## programs, units and sample configurations; existing configurations stay
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" exec tools/install.sh

# exec matters: only a direct child of make can tell that a signal was sent to make alone.
run: build ## the whole system on this machine, in the foreground
	@$(WITH) ffmpeg -- true || echo "make: without ffmpeg only WAV files can be uploaded" >&2
	@$(WITH) espeak -- true || echo "make: without espeak-ng no text can be read aloud" >&2
	@exec bin/demo --port "$$PORT" --speakers "$$SPEAKERS" --dir "$$DIR" --redis-url "$$REDIS_URL" --announce="$$ANNOUNCE"

# CI=true makes a test that lacks Redis, Chromium and the like fail instead of skip.
test: ## all tests, with -race, a real Redis and a real Chromium
	@CI=true exec $(WITH) go opus alsa pulse redis chromium ffmpeg gstreamer fonts srtp espeak ip nft certutil pebble -- go run ./tools/tally test

lint:
	@exec $(WITH) go opus alsa -- go tool -modfile=tools/tools.mod golangci-lint run ./...

fuzz: ## TIME=30s: each fuzz target for that long
	@exec $(WITH) go opus alsa -- go run ./tools/tally fuzz

soak: ## TIME=10m: the soak test
	@exec $(WITH) go opus alsa redis -- go run ./tools/tally soak

bench: ## NAME=fanout FAST=1: benchmarks, all without NAME
	@exec $(WITH) go opus alsa redis chromium -- go run ./tools/tally bench

web: ## the committed bundles of the pages, from their TypeScript
	@exec $(WITH) go -- go generate ./streamer/...

clean:
	rm -rf bin
