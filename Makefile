# Every target sets up the virtual environment that it needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
LOCK := infra/requirements.lock
ROOT ?= out/demo
# What the tests need besides the group "test" of pyproject.toml.
TEST_EXTRAS := cluster,feedback,gcp,hats,specutils

# The tests of one file run in one process, because they share module-scoped fixtures. A test that waits forever
# ends its process after ten minutes, with the stacks of all threads, and is a failure.
TWO_AT_A_TIME := --numprocesses 2 --dist loadfile --no-loadscope-reorder \
	-o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true

export RAY_USAGE_STATS_ENABLED := 0
# Ray's workers have the priority of other processes: at Ray's default they get next to nothing of a busy core.
test soak: export RAY_worker_niceness := 0
# Each of the many processes would compile distspec again, for almost a second.
test soak: export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test soak check format docs bench pretrained lock clean

demo: $(VENV)/.installed  ## run the whole pipeline on a simulated archive
	$(BIN)/distspec run demo --root $(ROOT)

test: $(VENV)/.installed-dev  ## run every test that is not marked slow
	$(BIN)/python -m pytest -m "not slow" $(TWO_AT_A_TIME)

soak: $(VENV)/.installed-dev  ## run the tests marked slow
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.installed-dev  ## check style, formatting, types and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## apply the formatter and the linter's automatic fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-docs  ## build the documentation into docs/_build/html; warnings are errors
	rm -rf docs/tutorials/out
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.installed-dev  ## run the benchmarks and print one table; BENCH=name runs one of them
	$(BIN)/python -m tests.benchmarks $(BENCH)

pretrained: $(VENV)/.installed-dev  ## train the model that the package contains again, and measure it
	$(BIN)/python -m tests.benchmarks.pretrained train
	$(BIN)/python -m tests.benchmarks.pretrained evaluate

# The lock is a constraints file: it fixes the versions of whichever extras and groups are installed.
$(VENV)/.installed: pyproject.toml $(LOCK)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet 'pip>=25.1'  # --group
	$(BIN)/python -m pip install --quiet -c $(LOCK) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c $(LOCK) -e '.[$(TEST_EXTRAS)]' --group test --group check
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c $(LOCK) -e '.[specutils]' --group docs
	touch $@

lock:  ## rebuild the lock file from pyproject.toml; torch and the CUDA libraries keep their versions
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	grep -E '^(torch==|triton==|cuda-|nvidia-)' $(LOCK) > $(VENV)-lock/pinned
	$(VENV)-lock/bin/pip install --quiet 'pip>=25.1'
	$(VENV)-lock/bin/pip install --quiet -c $(VENV)-lock/pinned -e '.[$(TEST_EXTRAS),tensorboard]' \
		--group test --group check --group docs
	sed -n "/^#/s/^\(# Date of the versions:\).*/\1 $$(date -u +%F)/; /^#/p" $(LOCK) > $(LOCK).new
	{ $(VENV)-lock/bin/pip freeze --all --exclude-editable --exclude pip | sed 's/+cpu//'; cat $(VENV)-lock/pinned; } \
		| LC_ALL=C sort --ignore-case --unique >> $(LOCK).new
	mv $(LOCK).new $(LOCK) && rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) out docs/_build docs/api docs/reference/generated docs/tutorials/out
