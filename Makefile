# The front door of the project. `make help` lists what there is.

PREFIX ?= /usr/local
DESTDIR ?=
# Where mount(8) looks for its helpers, whatever PREFIX is.
SBINDIR ?= /usr/sbin
SWIFT ?= swift

# Users get one file: the Swift runtime is linked in.
RELEASE := -c release --static-swift-stdlib
LAYERING := --explicit-target-dependency-import-check error
FORMATTED := Sources Tests Package.swift
# Names under which mount(8) and umount(8) call the binary, for the types waysfs and fuse.waysfs.
HELPERS := mount.waysfs mount.fuse.waysfs umount.fuse.waysfs

.PHONY: all build debug dependencies test demo sandbox bench docs format lint install uninstall clean help

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
	waysfs="$$($(SWIFT) build --show-bin-path)/waysfs"; \
	new=$$(mktemp) && trap 'rm -f "$$new"' EXIT && \
	"$$waysfs" docs configuration >"$$new" && cat "$$new" >docs/configuration.md && \
	"$$waysfs" docs manual >"$$new" && sed -i -e '/^.." BEGIN OPTIONS/,/^.." END OPTIONS/{/OPTIONS/!d}' \
		-e "/^..\" BEGIN OPTIONS/r $$new" docs/waysfs.1

format: ## format the sources
	$(SWIFT) format --in-place --parallel --recursive $(FORMATTED)

lint: ## check the format of the sources
	$(SWIFT) format lint --strict --parallel --recursive $(FORMATTED)

install: ## install below PREFIX (/usr/local), after `make build`
	@binary="$$($(SWIFT) build $(RELEASE) --show-bin-path)/waysfs"; \
	test -x "$$binary" || { echo "please run make build first" >&2; exit 1; }; \
	install -D -m 0755 "$$binary" "$(DESTDIR)$(PREFIX)/bin/waysfs"
	install -d "$(DESTDIR)$(SBINDIR)" "$(DESTDIR)$(PREFIX)/lib/systemd/system" "$(DESTDIR)$(PREFIX)/lib/systemd/user"
	for name in $(HELPERS); do ln -sf "$(PREFIX)/bin/waysfs" "$(DESTDIR)$(SBINDIR)/$$name"; done
	for manager in system:. user:user; do \
		sed 's|/usr/bin/waysfs|$(PREFIX)/bin/waysfs|g' "systemd/$${manager#*:}/waysfs@.service" \
			>"$(DESTDIR)$(PREFIX)/lib/systemd/$${manager%:*}/waysfs@.service"; \
	done

uninstall: ## remove what `make install` installed
	rm -f "$(DESTDIR)$(PREFIX)/bin/waysfs" $(patsubst %,"$(DESTDIR)$(SBINDIR)/%",$(HELPERS)) \
		"$(DESTDIR)$(PREFIX)/lib/systemd/system/waysfs@.service" \
		"$(DESTDIR)$(PREFIX)/lib/systemd/user/waysfs@.service"

clean: ## remove everything that was built or downloaded
	rm -rf .build .tools .sandbox

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18
