# Every target makes the virtual environment that it needs and installs into it.
#
#   make stress                              the scenarios, for SECONDS in all (60)
#   make stress SUBJECT=my_module:MyEvent    the same with another class under test
#   make stress SANITIZE=1                   each execution under the sanitizer, in one process
#   make stress RAY=auto                     the same on the Ray cluster of this machine; or RAY=HOST:PORT, RAY=local
#   make test                                the tests, in JOBS processes (one more than cores, for some wait)
#
# torch: the CPU build by default. With a GPU: make stress CONSTRAINTS=       (torch's newest build)
#                                  or:   make stress VENV_FLAGS=--system-site-packages   (the torch you have)

PYTHON      ?= python3
VENV        ?= .venv
VENV_FLAGS  ?=
CONSTRAINTS ?= $(if $(findstring --system-site-packages,$(VENV_FLAGS)),,ci/constraints-cpu.txt)
SECONDS     ?= 60
DEVICE      ?= auto
SUBJECT     ?=
SEED        ?=
WORKERS     ?=
REPORT      ?= stress-report
RAY         ?=
SANITIZE    ?=
HAND_OFFS   ?= 100000000
JOBS        ?= $(shell expr $$(nproc 2>/dev/null || echo 1) + 1)
ARGS        ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/installed
SUBJECTS := $(if $(SUBJECT),$(SUBJECT),cpugpu:CpuGpuEvent cpugpu.debug:InstrumentedEvent)

# The tests start a hundred interpreters, and each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install test test-slow stress explore soak mutants compare-sanitizers loops bench docs e2e lint matrix clean

install: $(STAMP)

$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV_FLAGS) $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix --constraint ,$(CONSTRAINTS)) --editable '.[dev]'
	@touch $@

test: install
	$(BIN)/python -m pytest tests -m "not slow" -n $(JOBS) --maxprocesses=9 $(ARGS)

# Those that try many programs or draw many samples.
test-slow: install
	$(BIN)/python -m pytest tests -m slow -n $(JOBS) --maxprocesses=9 $(ARGS)

# Without SUBJECT also the demonstrations in stress/racy: the bugs that the event exists for, failing as they should.
# Leaves REPORT/index.html.
stress: install
	$(BIN)/python -m pytest stress $(if $(SUBJECT),--ignore=stress/racy) --stress-seconds=$(SECONDS) --stress-device=$(DEVICE) \
	  $(addprefix --stress-subject=,$(SUBJECTS)) $(addprefix --stress-seed=,$(SEED)) $(addprefix --stress-workers=,$(WORKERS)) \
	  $(if $(SANITIZE),--stress-sanitize,$(addprefix --stress-report=,$(REPORT))) $(addprefix --stress-ray=,$(RAY)) $(ARGS)

# 100 million hand-offs, each with a payload that is looked at.
soak: install
	$(BIN)/python -m stress.soak --hand-offs $(HAND_OFFS) $(ARGS)

# Every scenario under the explorer, for SECONDS each.
explore: install
	$(BIN)/cpugpu explore stress --seconds=$(SECONDS) $(ARGS)

mutants: install
	$(BIN)/python -m stress.mutants $(ARGS)

# The sanitizer beside torch's CSAN, hazard by hazard, on the CPU; writes docs/sanitizer.md.
compare-sanitizers: install
	$(BIN)/python -m stress.compare_sanitizers $(ARGS)

# Training loops of other libraries on the simulated device, watched. Installs them, beside the torch that is there.
loops: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix --constraint ,$(CONSTRAINTS)) --editable '.[loops]'
	$(BIN)/python -m pytest tests/sanitize/test_loops.py $(ARGS)

bench: install
	$(BIN)/python -m benchmarks.handoff $(ARGS)
	$(BIN)/python -m benchmarks.debug
	$(BIN)/python -m benchmarks.trace
	$(BIN)/python -m benchmarks.campaign
	$(BIN)/python -m benchmarks.simulate
	$(BIN)/python -m benchmarks.sanitize
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m benchmarks.explore

# The pages of the rules, from the rules.
docs: install
	$(BIN)/python -m cpugpu.report.rules docs/rules

# A trace in the real Perfetto UI, and a report, in a headless browser; leaves screenshots. Installs what it needs.
e2e: install
	tests/e2e/install.sh $(BIN)/python
	$(BIN)/python -m tests.e2e.perfetto_ui stress-report/perfetto.png
	$(BIN)/python -m tests.e2e.report_ui stress-report/report.png

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tests under every other interpreter that is there, without torch: all but the accelerator runs without it.
matrix:
	ci/matrix.sh

clean:
	rm -rf $(VENV) .cpugpu .pytest_cache .mypy_cache .ruff_cache .hypothesis dist stress-report
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
