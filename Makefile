# SPDX-License-Identifier: BSD-3-Clause
# The front door. meson and ninja do the work; on Debian `demo` and `check` install what they need.

BUILD ?= build
SEEDS ?= 10000
ROUNDS ?= 5
SOAK_S ?= 600
FUZZ_S ?= 60
PYTEST = PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m pytest -q -p no:cacheprovider

.PHONY: all build demo check check-seccomp faults soak sim fuzz prove bench profile install clean format

all: build

build: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@meson setup $(BUILD)

# A real guest talks to a host program, in under three minutes.
demo:
	@scripts/deps.sh demo
	@mkdir -p $(BUILD) && echo "Building"
	@$(MAKE) --no-print-directory build >$(BUILD)/build.log 2>&1 || { cat $(BUILD)/build.log; exit 1; }
	@demo/demo.sh $(BUILD)

# Every test; the last line counts them. Under 20 minutes on two cores, as root.
check:
	@scripts/deps.sh check
	@python3 scripts/check.py $(BUILD)/check

# Whether each rule of the worker's, the starter's and the broker's filters of system calls is needed:
# some 20 minutes, as root.
check-seccomp:
	@scripts/deps.sh check
	@$(MAKE) --no-print-directory build
	@ninja -C $(BUILD) tests/seccomp/vmchannel-without
	@python3 tests/seccomp/check.py $(BUILD)/tests/seccomp/vmchannel-without

# Each call of the C library by broker and worker fails, with each error it can have: some 5 minutes,
# as root. make faults FAULTS='-k conversation'
faults:
	@scripts/deps.sh check
	@$(MAKE) --no-print-directory build
	@ninja -C $(BUILD) tests/fault/vmchannel-faults
	@VMCHANNEL_WITH_FAULTS=$(BUILD)/tests/fault/vmchannel-faults $(PYTEST) tests/fault $(FAULTS)

# Services die, links drop, floods come, and 64 connections check their bytes: make soak SOAK_S=3600
soak:
	@scripts/deps.sh check
	@$(MAKE) --no-print-directory build
	@VMCHANNEL=$(BUILD)/src/cli/vmchannel SOAK_S=$(SOAK_S) $(PYTEST) tests/soak

# The simulation over more seeds than `check` has time for: make sim SEEDS=100000
sim:
	@scripts/deps.sh sim
	@$(MAKE) --no-print-directory build
	$(BUILD)/tests/sim/sim --count $(SEEDS)

# Every fuzzer for FUZZ_S seconds, two at a time; a crash says how to see it again.
fuzz:
	@scripts/deps.sh check
	@[ -e $(BUILD)/fuzz/build.ninja ] || CC=clang meson setup -Dfuzz=true \
	    -Db_sanitize=address,undefined -Db_lundef=false $(BUILD)/fuzz >/dev/null
	@ninja -C $(BUILD)/fuzz fuzz
	@FUZZ_S=$(FUZZ_S) meson test -C $(BUILD)/fuzz --no-rebuild --suite fuzz --num-processes 2 \
	    --print-errorlogs
	@grep -ho 'fuzz-[a-z_]*: [0-9]* executions.*' $(BUILD)/fuzz/meson-logs/testlog.txt

# No undefined behaviour in the pure layers, by Frama-C: each proof says over which inputs. Then faults
# are planted, each of which has to be seen. make prove PROVE=tcp
prove:
	@scripts/deps.sh prove
	@python3 tests/prove/prove.py $(BUILD)/prove $(PROVE)
	@python3 tests/prove/prove.py --self-test $(BUILD)/prove/self-test

# Which branches the tests take, and why the others are not taken: some 15 minutes, as root. E2E= names
# end-to-end tests to count instead of the usual ones.
coverage:
	@scripts/deps.sh coverage
	@python3 scripts/coverage.py $(BUILD)/coverage $(E2E)

# vmchannel beside its peers, as root: make bench ROUNDS=9 BENCH_FLAGS='--only tap --only pasta'
bench:
	@scripts/deps.sh bench
	@mkdir -p $(BUILD)/bench
	@[ -e $(BUILD)/bench/build/build.ninja ] || \
	    meson setup --buildtype=release $(BUILD)/bench/build >/dev/null
	@ninja -C $(BUILD)/bench/build src/cli/vmchannel tests/vhost_guest/vhost-guest \
	    >$(BUILD)/bench/build.log
	@/usr/bin/python3 tests/bench/bench.py $(BUILD)/bench/build/src/cli/vmchannel \
	    --out $(BUILD)/bench --rounds $(ROUNDS) $(BENCH_FLAGS)

# Where the CPU time goes, as root: make profile PROFILE="'vmchannel vhost-user' receive"
profile:
	@scripts/deps.sh profile
	@mkdir -p $(BUILD)/bench
	@[ -e $(BUILD)/bench/build/build.ninja ] || \
	    meson setup --buildtype=release $(BUILD)/bench/build >/dev/null
	@ninja -C $(BUILD)/bench/build src/cli/vmchannel tests/vhost_guest/vhost-guest \
	    >$(BUILD)/bench/build.log
	@/usr/bin/python3 tests/bench/profile.py $(BUILD)/bench/build/src/cli/vmchannel $(PROFILE)

install: build
	@meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD)

format:
	clang-format -i $$(git ls-files '*.c' '*.h')
