# The front door. Every target does its own set-up, in .venv; only Python >= 3.11 and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
READY := $(VENV)/.ready
BENCH := $(VENV)/.bench
LOWEST := $(VENV)-lowest
# With their outputs, for the documentation; git keeps them without.
NOTEBOOKS := $(patsubst examples/%.ipynb,docs/notebooks/%.ipynb,$(wildcard examples/*.ipynb))

.PHONY: help demo test crash coverage lint types notebooks docs bench soak bench-quick bench-twice test-lowest wheel format clean

help:  ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install -e '.[demo,viz]' --group test --group lint --group docs
	@touch $@

demo: $(READY)  ## Repair a broken project twice, with ToolNode and with AsyncFCToolNode, and compare
	$(BIN)/python -m examples.repair $(ARGS)

PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal

# Tracing takes nearly as long as the tests on Python 3.11, so only some variants of each are traced.
test: $(BENCH)  ## Run all tests, with branch coverage measured; or those that ARGS says, without
ifdef ARGS
	$(PYTEST) $(ARGS)
else
	$(PYTEST) --part traced --cov --cov-report=
	$(PYTEST) --part rest
endif

crash: $(BENCH)  ## Kill processes 200 times in a row, anywhere
	ASYNCFC_CRASHES=200 $(BIN)/python -m pytest -n auto -q tests/integration/reliability/test_crash_anywhere.py $(ARGS)

coverage: $(READY)  ## Check the branch coverage that `make test` measured
	$(BIN)/python -m coverage report --fail-under=98

lint: $(READY)  ## Check style and form
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## Check types
	$(BIN)/mypy
	$(BIN)/python tests/typing/complete.py

format: $(READY)  ## Bring the code into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The tests keep what they ran in build/notebooks.
docs/notebooks/%.ipynb: examples/%.ipynb | $(READY)
	@mkdir -p $(@D)
	@if [ build/notebooks/$(@F) -nt $< ]; then echo "cp build/notebooks/$(@F) $@" && cp build/notebooks/$(@F) $@; else \
	  $(BIN)/python -m jupyter nbconvert --to notebook --execute --log-level=ERROR --output-dir $(@D) $<; fi

notebooks: $(NOTEBOOKS)  ## Run the notebooks of examples/ into docs/notebooks/

docs: $(READY) $(NOTEBOOKS)  ## Build the documentation into site/, with the notebooks that were run
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The benchmark of function calling, without its own dependencies: only its tasks and tools are used.
$(BENCH): $(READY)
	$(PIP) install --no-deps bfcl-eval==2026.3.23 mpmath==1.3.0
	$(PIP) install --group bench
	@touch $@

bench: $(BENCH)  ## Measure again what README and docs claim; or the parts that ARGS names
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(BENCH)  ## Measure again what load and time do, which takes long
	$(BIN)/python -m benchmarks soak

bench-quick: $(BENCH)  ## A small part of the benchmarks, in under two minutes
	$(BIN)/python -m benchmarks --quick

bench-twice: $(BENCH)  ## Check that figures of virtual time are the same twice
	$(BIN)/python -m benchmarks.twice $(ARGS)

$(LOWEST)/.ready: pyproject.toml tests/lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip --disable-pip-version-check -q install --upgrade 'pip>=25.1'
	$(LOWEST)/bin/python -m pip --disable-pip-version-check -q install -r tests/lowest.txt
	$(LOWEST)/bin/python -m pip --disable-pip-version-check -q install --no-deps -e .
	@touch $@

$(LOWEST)-middleware/.ready: pyproject.toml tests/lowest-middleware.txt
	$(PYTHON) -m venv $(LOWEST)-middleware
	$(LOWEST)-middleware/bin/python -m pip --disable-pip-version-check -q install --upgrade 'pip>=25.1'
	$(LOWEST)-middleware/bin/python -m pip --disable-pip-version-check -q install -r tests/lowest-middleware.txt
	$(LOWEST)-middleware/bin/python -m pip --disable-pip-version-check -q install --no-deps -e .
	@touch $@

# The node works with older versions than the middleware.
test-lowest: $(LOWEST)/.ready $(LOWEST)-middleware/.ready  ## Run the tests on the lowest versions that are supported
	$(LOWEST)/bin/python -m pytest -n auto --dist worksteal -q tests/unit tests/integration --ignore-glob='*demo*' --ignore-glob='*benchmark*' \
	  --ignore=tests/integration/agents --ignore=tests/integration/providers --ignore-glob='*mcp*' --ignore-glob='*eager_rules*' \
	  --ignore=tests/integration/reliability $(ARGS)
	$(LOWEST)/bin/python -m pytest -n auto -q tests/integration/reliability/test_interrupts.py -k node
	$(LOWEST)-middleware/bin/python -m pytest -n auto --dist worksteal -q tests/integration/agents \
	  tests/integration/reliability/test_interrupts.py $(ARGS)

wheel: $(READY)  ## Build the wheel, and try it in an empty environment
	$(PIP) install build
	rm -rf dist && $(BIN)/python -m build --outdir dist . >/dev/null
	rm -rf build/smoke && $(PYTHON) -m venv build/smoke
	build/smoke/bin/python -m pip --disable-pip-version-check -q install dist/*.whl
	cd build && smoke/bin/python -W error ../tests/smoke.py

clean:  ## Remove what was built
	rm -rf $(VENV) $(LOWEST) $(LOWEST)-middleware build dist site docs/notebooks .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
