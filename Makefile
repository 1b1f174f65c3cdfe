# SPDX-License-Identifier: Apache-2.0
#
# Forebay. `make` builds, `make test` proves, `make run` starts one to play with; `make help` lists the rest.
#
#   SAN=address | thread | fuzz   build into build/asan, build/tsan, build/fuzz instead of build
#   CC=clang                      another compiler
#   B=DIR                         another build directory
#   ROOMS="base kv"               only these rooms of src (tests that need others do not link)
#   V=1                           show whole command lines

SHELL := /bin/bash
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

SAN ?=
V ?=
say = $(if $(V),,@echo "$(1)" && )
PREFIX ?= /usr
DESTDIR ?=

ifeq ($(origin CC),default)
CC := $(if $(filter fuzz,$(SAN)),clang,gcc)
endif
CCACHE := $(shell command -v ccache 2>/dev/null)

B_ := build
B_address := build/asan
B_thread := build/tsan
B_fuzz := build/fuzz
B ?= $(B_$(SAN))

SANFLAGS_address := -fsanitize=address,undefined -fno-sanitize-recover=undefined -DFB_LOCK_CHECK
SANFLAGS_thread := -fsanitize=thread -DFB_LOCK_CHECK
SANFLAGS_fuzz := -fsanitize=fuzzer-no-link,address -DFB_LOCK_CHECK
SANFLAGS := $(SANFLAGS_$(SAN))

OPT ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Werror
ifneq ($(SAN),)
WARN += $(if $(findstring clang,$(CC)),,-Wno-maybe-uninitialized) # gcc's guess is poor under sanitizers
endif
CPPFLAGS := -D_GNU_SOURCE -Isrc
CFLAGS := -std=gnu17 $(OPT) $(WARN) -pthread -fno-omit-frame-pointer $(SANFLAGS) $(XCFLAGS)
LDFLAGS := -pthread $(SANFLAGS)

# Libraries that only some builds need come in with the first source that includes their header.
uses = $(shell grep -rlF --include='*.[ch]' '$(1)' src 2>/dev/null | head -1)
LIBS := -lrocksdb -lcurl -lssl -lcrypto -lexpat -ljansson -lxxhash -lisal -ljwt -lm
ifneq ($(call uses,libpq-fe.h),)
LIBS += -lpq
CPPFLAGS += -I/usr/include/postgresql
endif
ifneq ($(call uses,<fuse_lowlevel.h>),)
LIBS += -lfuse3
CPPFLAGS += -I/usr/include/fuse3
endif
ifneq ($(call uses,<zlib.h>),)
LIBS += -lz
endif

ROOMS ?= *
ROOM_SRC := $(sort $(foreach r,$(ROOMS),$(wildcard src/$(r)/*.c src/$(r)/*/*.c)))
BIN_SRC := $(wildcard src/bin/*.c)
LIB_SRC := $(filter-out $(BIN_SRC),$(ROOM_SRC))
LIB_OBJ := $(LIB_SRC:%.c=$(B)/%.o)
BIN_OBJ := $(BIN_SRC:%.c=$(B)/%.o)
FAKE_OBJ := $(filter-out $(B)/src/page/%,$(LIB_OBJ)) # model tests bring a page store of their own

# tests/KIND/test_X.c is one program; all of its kind may use what tests/KIND/lib*.c offer.
tests = $(patsubst tests/$(1)/%.c,$(B)/tests/$(2)%,$(wildcard tests/$(1)/test_*.c))
helpers = $(if $(wildcard tests/$(1)/lib*.c),$(B)/tests/$(1)/helpers.a)
UNIT := $(call tests,unit)
CONTRACT := $(call tests,contract,contract/)
MODEL := $(call tests,model,model/)
FUZZ := $(patsubst tests/fuzz/%.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))

.PHONY: all
all: $(B)/forebay $(B)/alluxio

# ---- building ----

.PHONY: FORCE
# Rewritten only when it changes: another compiler or flag rebuilds, a removed source relinks.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CPPFLAGS) $(CFLAGS)' | cmp -s - $@ || echo '$(CC) $(CPPFLAGS) $(CFLAGS)' >$@
$(B)/objects: FORCE
	@mkdir -p $(@D)
	@echo '$(LIB_OBJ)' | cmp -s - $@ || echo '$(LIB_OBJ)' >$@

.PRECIOUS: $(B)/%.o
$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,compile $<)$(CCACHE) $(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/libforebay.a: $(LIB_OBJ) $(B)/objects
	@rm -f $@
	$(call say,archive $@)ar rcs $@ $(LIB_OBJ)
$(B)/libforebay-nopage.a: $(FAKE_OBJ) $(B)/objects
	@rm -f $@
	$(call say,archive $@)ar rcs $@ $(FAKE_OBJ)

define HELPERS
$$(B)/tests/$(1)/helpers.a: $$(patsubst %.c,$$(B)/%.o,$$(wildcard tests/$(1)/lib*.c))
	$$(call say,archive $$@)rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach k,unit contract model fuzz,$(eval $(call HELPERS,$(k))))

LINK = $(call say,link $@)mkdir -p $(@D) && $(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

$(B)/forebay: $(BIN_OBJ) $(B)/libforebay.a
	$(LINK)
$(B)/alluxio: $(B)/forebay
	ln -sf forebay $@

$(B)/tests/test_%: $(B)/tests/unit/test_%.o $(call helpers,unit) $(B)/libforebay.a
	$(LINK) -lcmocka
$(B)/tests/contract/test_%: $(B)/tests/contract/test_%.o $(call helpers,contract) $(B)/libforebay.a
	$(LINK) -lcmocka
$(B)/tests/model/test_%: $(B)/tests/model/test_%.o $(call helpers,model) $(B)/libforebay-nopage.a
	$(LINK) -lcmocka
$(B)/fuzz_%: LDFLAGS += -fsanitize=fuzzer
$(B)/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(call helpers,fuzz) $(B)/libforebay.a
	$(LINK)

$(B)/bench/%: $(B)/tests/bench/%.o $(B)/libforebay.a
	$(LINK)

-include $(LIB_OBJ:.o=.d) $(BIN_OBJ:.o=.d) $(wildcard $(B)/tests/*/*.d)

# ---- testing; tests/run does the counting ----

.PHONY: unit contract model fuzz check-layers lint format test test-quick unit-bins contract-bins model-bins fuzz-bins
unit-bins: $(UNIT)
contract-bins: $(CONTRACT)
model-bins: $(MODEL)
fuzz-bins: $(FUZZ)

unit contract model fuzz:
	tests/run $(if $(filter address,$(SAN)),asan-$@,$(if $(filter thread,$(SAN)),tsan-$@,$@))
check-layers:
	tests/check-layers
test:
	tests/run all
test-quick:
	tests/run quick

# FILES="src/kv/*.c": only these
FILES ?= $(sort $(wildcard src/*/*.[ch] src/*/*/*.[ch] tests/*/*.[ch]))
lint:
	tests/check-props
	clang-format --dry-run --Werror $(FILES)
	printf '%s\n' $(filter %.c,$(wildcard $(FILES))) | xargs -P $$(nproc) -I{} clang-tidy --quiet {} -- $(CPPFLAGS) -std=gnu17
format:
	clang-format -i $(FILES)

# ---- what is needed ----

PACKAGES := gcc clang clang-format clang-tidy libclang-rt-14-dev make ccache pkg-config git ca-certificates \
	librocksdb-dev libcurl4-openssl-dev libssl-dev libexpat1-dev libjansson-dev libxxhash-dev libisal-dev libjwt-dev \
	libfuse3-dev fuse3 libpq-dev libcmocka-dev \
	e2fsprogs util-linux python3-venv rsync postgresql sqlite3
VERSITYGW := github.com/versity/versitygw/cmd/versitygw@v1.8.0
# What PEERS=1 measures beside Forebay.
BENCH_PACKAGES := nginx-light fio
BENCH_MODULES := github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c github.com/rclone/rclone@v1.75.1

.PHONY: deps deps-debian deps-python deps-go
deps: deps-debian deps-python deps-go
deps-debian:
	@missing="$$(tests/missing-packages $(PACKAGES))"; \
	if [ -n "$$missing" ]; then \
		sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		$$sudo apt-get update -q && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -q -y --no-install-recommends $$missing; \
	fi
deps-python: build/venv/.done
build/venv/.done: tests/requirements.txt
	@mkdir -p build
	[ -x build/venv/bin/python ] || python3 -m venv build/venv
	build/venv/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@
deps-go: build/tools/versitygw
build/tools/versitygw:
	@mkdir -p build/tools
	@command -v go >/dev/null || { echo "Go 1.25 (or 1.21, which fetches it) is needed for the foreign S3 server of the tests;" \
		"Debian 12 has it in bookworm-backports: apt-get install -t bookworm-backports golang-go" >&2; exit 1; }
	GOBIN=$(CURDIR)/build/tools go install $(VERSITYGW)

# ---- measuring; what it prints is the table of docs/performance.md ----

.PHONY: bench bench-peers
bench: all deps-python deps-go $(B)/bench/mount_bench
	build/venv/bin/python tests/bench/run
bench-peers: deps-go
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -q -y --no-install-recommends $(BENCH_PACKAGES)
	for m in $(BENCH_MODULES); do GOBIN=$(CURDIR)/build/peers GOFLAGS=-buildvcs=false go install "$$m" || exit 1; done

# fsspec's s3fs for the client suites; beside the other Python tools, because it wants an older botocore than boto3 does.
.PHONY: deps-s3fs
deps-s3fs: build/venv-s3fs/.done
build/venv-s3fs/.done:
	python3 -m venv build/venv-s3fs
	build/venv-s3fs/bin/pip install --quiet --disable-pip-version-check s3fs
	@touch $@

# rclone with two of its backends, for the client suites; they skip it when it is not there.
.PHONY: deps-rclone
deps-rclone: build/tools/rclone
build/tools/rclone: tests/tools/rclone/main.go tests/tools/rclone/go.mod
	@mkdir -p build/tools
	cd tests/tools/rclone && go build -o $(CURDIR)/$@ .

# ---- using ----

.PHONY: run docs install clean help
run: deps-debian all
	@mkdir -p forebay-demo-ufs
	@printf '%s\n' '' 'The S3 endpoint is http://127.0.0.1:29998 when the line that starts with "ready" is there. Then, in another terminal:' \
		'  aws s3 cp README.md s3://demo/README.md --endpoint-url http://127.0.0.1:29998 --no-sign-request' \
		'  $(B)/forebay fs ls /demo' \
		'  $(B)/forebay async-persist list' 'Ctrl-C stops it.' ''
	@$(B)/forebay standalone --conf examples/alluxio-site.properties --data ./forebay-data \
		--ufs /demo=file://$(CURDIR)/forebay-demo-ufs -D forebay.pathconfig.file=$(CURDIR)/examples/pathconfig.json

docs: docs/properties.md
docs/properties.md: $(B)/tools/gen-properties
	@mkdir -p $(@D)
	$< >$@.new && mv $@.new $@
$(B)/tools/gen-properties: $(B)/tests/tools/gen-properties.o $(B)/libforebay.a
	$(LINK)

install: all
	install -D -m 755 $(B)/forebay $(DESTDIR)$(PREFIX)/bin/forebay
	ln -sf forebay $(DESTDIR)$(PREFIX)/bin/alluxio
	install -d $(DESTDIR)$(PREFIX)/sbin
	ln -sf ../bin/forebay $(DESTDIR)$(PREFIX)/sbin/mount.fuse.forebay

clean:
	rm -rf build/src build/tests build/asan build/tsan build/fuzz build/log build/*.a build/forebay build/alluxio build/flags build/objects

help:
	@echo "targets: all deps unit contract model fuzz check-layers lint format test test-quick bench bench-peers run docs install clean"
	@sed -n '3,9s/^# \{0,1\}//p' Makefile
