# make demo   install, index the example photos, ask them a few things
# make test   install with the development extras, then lint, types and tests
# Both may be run again at any time.
#
# make coverage   the tests, and which lines of the package they do not reach
# make unit TESTS=tests/test_store.py   some tests alone; coverage takes TESTS too

PYTHON ?= python3
VENV ?= .venv
DEMO_LIBRARY ?= $(VENV)/demo-library

TESTS ?=

BIN := $(VENV)/bin
CLIPSEARCH := $(BIN)/clipsearch --library $(DEMO_LIBRARY)

.PHONY: demo test lint types unit coverage format clean

demo: $(VENV)/installed
	$(CLIPSEARCH) index examples/photos --model builtin
	$(CLIPSEARCH) query "musicians on a stage" --top 3
	$(CLIPSEARCH) query "horses" --top 3
	$(CLIPSEARCH) query "a bridge at night" --top 3
	$(CLIPSEARCH) similar examples/photos/animals/tabby-cat-face.jpg --top 3

test: lint types unit

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

unit: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n auto --dist loadfile $(TESTS)

coverage: $(VENV)/installed-dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto --dist loadfile $(TESTS); tests=$$?; \
	$(BIN)/coverage combine --quiet && $(BIN)/coverage report && exit $$tests

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("clipsearch needs Python 3.11 or newer: make demo PYTHON=python3.x") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
