# Everything a newcomer needs: `make demo` and `make test` set up by themselves.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
LOCK := infra/requirements.lock
ROOT ?= out/demo

# A file's tests stay together: they share what they set up.
TWO_AT_A_TIME := --numprocesses 2 --dist loadfile --no-loadscope-reorder

export RAY_USAGE_STATS_ENABLED := 0

.PHONY: demo test soak check format bench lock clean

demo: $(VENV)/.installed  ## the whole pipeline on a synthetic archive
	$(BIN)/python -m jobs.pipeline demo --root $(ROOT)

test: $(VENV)/.installed-dev  ## every test but the slow ones
	$(BIN)/python -m pytest -m "not slow" $(TWO_AT_A_TIME)

soak: $(VENV)/.installed-dev  ## the slow ones
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.installed-dev  ## lint, format, types, who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-bench  ## tests/benchmarks, one table; BENCH=name runs one alone
	$(BIN)/python -m tests.benchmarks $(BENCH)

# The lock is a constraints file: exact versions, whichever extras are installed.
$(VENV)/.installed: pyproject.toml $(LOCK)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c $(LOCK) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c $(LOCK) -e '.[test,check]'
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet -c $(LOCK) -e '.[test,bench]'
	touch $@

lock:  ## remake the lock from pyproject.toml; torch and what CUDA needs stay where they are pinned
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	grep -E '^(torch==|triton==|cuda-|nvidia-)' $(LOCK) > $(VENV)-lock/kept
	$(VENV)-lock/bin/pip install --quiet -c $(VENV)-lock/kept -e '.[test,check,bench,cluster,feedback,tensorboard]'
	sed -n '/^#/p' $(LOCK) > $(LOCK).new
	{ $(VENV)-lock/bin/pip freeze --all --exclude-editable --exclude pip | sed 's/+cpu//'; cat $(VENV)-lock/kept; } \
		| LC_ALL=C sort --ignore-case --unique >> $(LOCK).new
	mv $(LOCK).new $(LOCK) && rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) out
