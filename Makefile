# make demo   install, index the example photos, ask them a few things
# make test   install with the development extras, then lint, types and tests
# Both may be run again at any time, and take CONSTRAINTS=.ci/constraints/python3.11.txt: the
# versions of the last good run in place of the newest.
#
# make light  the light install in an environment of its own, its size, and what it can do
#
# make coverage   the tests, and which lines of the package they do not reach
# make unit TESTS=tests/index/test_store.py   some tests alone; coverage takes TESTS too
# make lowest   the tests with the lowest versions that pyproject.toml allows, in .ci-lowest
# make constraints   keep the versions that are installed now, for this Python

PYTHON ?= python3
VENV ?= .venv
DEMO_LIBRARY ?= $(VENV)/demo-library

CONSTRAINTS ?=
TESTS ?=

LIGHT ?= .ci-light
LIGHT_MB := 450# the whole environment, with pip
LOWEST := .ci-lowest
# Programs that are killed or forked write no data, and under coverage one of these never ended.
UNCOUNTED := $(addprefix --ignore tests/,test_kills.py test_privacy.py test_two_at_once.py \
	test_packaging.py index/test_faults.py index/test_full_disk.py index/test_upgrading.py \
	training/test_checkpoints.py watching)

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
# One for each file of constraints: what another one installed is not what is wanted.
STAMP := $(VENV)/installed$(if $(CONSTRAINTS),-by-$(notdir $(CONSTRAINTS)))
CLIPSEARCH := $(BIN)/clipsearch --library $(DEMO_LIBRARY)

.PHONY: demo light test lint types unit coverage lowest format api constraints clean

demo: $(STAMP)
	$(CLIPSEARCH) index examples/photos --model builtin
	$(CLIPSEARCH) query "musicians on a stage" --top 3
	$(CLIPSEARCH) query "horses" --top 3
	$(CLIPSEARCH) query "a bridge at night" --top 3
	$(CLIPSEARCH) similar examples/photos/animals/tabby-cat-face.jpg --top 3

# The two installs are those of docs/installing.md.
light:
	rm -rf $(LIGHT)
	$(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/python -m pip install --quiet $$($(LIGHT)/bin/python -m clipsearch.light)
	$(LIGHT)/bin/python -m pip install --quiet --no-deps .
	$(LIGHT)/bin/python .ci/light.py $(LIGHT_MB)

test: lint types unit

lint: $(STAMP)-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)-dev
	$(BIN)/mypy

unit: $(STAMP)-dev
	$(BIN)/python -m pytest -n auto --dist loadfile $(TESTS)

coverage: $(STAMP)-dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto --dist loadfile $(UNCOUNTED) $(TESTS); tests=$$?; \
	$(BIN)/coverage combine --quiet && $(BIN)/coverage report && exit $$tests

# Which warnings packages of that age give is of no interest.
lowest: $(LOWEST)/lowest.txt
	$(MAKE) unit VENV=$(LOWEST) CONSTRAINTS=$< TESTS="-o filterwarnings=default $(TESTS)"

$(LOWEST)/lowest.txt: pyproject.toml .ci/lowest.py
	mkdir -p $(LOWEST)
	$(PYTHON) .ci/lowest.py > $@

format: $(STAMP)-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: $(STAMP)-dev
	mkdir -p .ci/constraints
	file=.ci/constraints/$$($(BIN)/python -c 'import sys; print("python%d.%d.txt" % sys.version_info[:2])') && \
	$(BIN)/python -m pip freeze --exclude clipsearch > $$file.new && mv $$file.new $$file

api: $(STAMP)
	$(BIN)/python docs/make_api.py
	$(BIN)/python docs/make_commands.py

clean:
	rm -rf $(VENV) $(LOWEST) $(LIGHT) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage

$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit("clipsearch needs Python 3.11 or newer: make demo PYTHON=python3.x") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	rm -f $(VENV)/installed*
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(INSTALL) --editable .
	touch $@

$(STAMP)-dev: $(STAMP)
	$(INSTALL) --editable '.[dev]'
	touch $@
