# What a developer runs by hand; .ci/run runs `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test test-all test-gpu test-newest test-oldest lint docs clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt scripts/install.sh
	PYTHON=$(PYTHON) sh scripts/install.sh $(VENV) all
	@touch $(STAMP)

# The demo needs only what `pip install .` brings, so it installs no more than that.
demo:
	@[ -f $(STAMP) ] || PYTHON=$(PYTHON) sh scripts/install.sh $(VENV) plain
	$(BIN)/sumkit demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -m "not slow and not gpu" -n 2

test-gpu: $(STAMP)
	$(BIN)/python -m pytest -m gpu

test-all: lint
	$(BIN)/python -m pytest -m "not gpu" -n 2

# The suite with the newest, and with the oldest, libraries that pyproject.toml allows, each in an environment of its own.
# What pages and generated pages print is that of the newest: older libraries word help and errors differently.
test-oldest: PAGES = --ignore tests/docs/test_generated.py --ignore tests/docs/test_pages.py
test-newest test-oldest: test-%:
	PYTHON=$(PYTHON) VERSIONS=$* sh scripts/install.sh .venv-$* all
	PATH="$(CURDIR)/.venv-$*/bin:$$PATH" .venv-$*/bin/python -m pytest -m "not slow and not gpu" -n 2 $(PAGES)

docs: $(STAMP)
	$(BIN)/python scripts/write_docs.py
	$(BIN)/zensical build --strict --clean

clean:
	rm -rf $(VENV) .venv-newest .venv-oldest build dist site .cache *.egg-info .pytest_cache .mypy_cache .ruff_cache
