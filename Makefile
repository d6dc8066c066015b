# The front door of the project. `make help` lists what there is.

SWIFT ?= swift

# Users get one file: the Swift runtime is linked in.
RELEASE := -c release --static-swift-stdlib
LAYERING := --explicit-target-dependency-import-check error
FORMATTED := Sources Tests Package.swift

.PHONY: all build debug dependencies test demo sandbox bench docs format lint install uninstall deb clean help

all: build ## build waysfs (release)

build: dependencies
	$(SWIFT) build $(RELEASE) --product waysfs
	@echo "built $$($(SWIFT) build $(RELEASE) --show-bin-path)/waysfs"

debug: dependencies ## build everything for debugging, tests too
	$(SWIFT) build --build-tests $(LAYERING)

dependencies:
	@scripts/install-dependencies --build-only

test: ## install what is missing and run all tests
	@scripts/test

demo: ## try waysfs without an account: mounts a bucket of a local S3 server
	@scripts/demo

sandbox: ## start only the local S3 server and control plane
	@scripts/sandbox

bench: ## compare with s3fs and rclone
	@scripts/bench

docs: ## write the documents that come from the table of options
	$(SWIFT) build --product waysfs
	@waysfs="$$($(SWIFT) build --show-bin-path)/waysfs"; set -e; \
	new=$$(mktemp); trap 'rm -f "$$new"' EXIT; \
	"$$waysfs" docs configuration.md >"$$new"; cat "$$new" >docs/configuration.md; \
	for page in docs/*.[158]; do \
		"$$waysfs" docs "$${page##*/}" >"$$new"; \
		sed -i -e '/^.." BEGIN OPTIONS/,/^.." END OPTIONS/{/OPTIONS/!d}' -e "/^..\" BEGIN OPTIONS/r $$new" "$$page"; \
	done

format: ## format the sources
	$(SWIFT) format --in-place --parallel --recursive $(FORMATTED)

lint: ## check the format of the sources
	$(SWIFT) format lint --strict --parallel --recursive $(FORMATTED)

install: ## install below PREFIX (/usr/local), after `make`; scripts/stage says what else can be chosen
	@scripts/stage install

uninstall: ## remove what `make install` has installed
	@scripts/stage uninstall

deb: build ## build the Debian package
	@scripts/package-deb

clean: ## remove everything that was built or downloaded
	rm -rf .build .tools .sandbox

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18
