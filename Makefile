# Each target makes the environment it needs first, in .venv beside this file.
PYTHON ?= python3
VENV := .venv
LINT_VENV := .venv-lint

.PHONY: demo test test-all lint benchmarks clean

demo: $(VENV)/.installed  ## the whole pipeline on data that it makes itself
	$(VENV)/bin/autoseg demo

test: $(VENV)/.installed  ## the fast tests
	$(VENV)/bin/python -m pytest

test-all: $(VENV)/.installed  ## the slow tests and those on real images as well
	$(VENV)/bin/python -m pytest --slow --numprocesses 2 --dist worksteal

lint: $(LINT_VENV)/.installed  ## style, formatting and types
	$(LINT_VENV)/bin/ruff check .
	$(LINT_VENV)/bin/ruff format --check .
# Types are checked in the installed package: planners/ and trainers/ are part of it only there.
	$(LINT_VENV)/bin/pip install --quiet --no-deps --force-reinstall .
	cd $(LINT_VENV) && bin/mypy --config-file ../pyproject.toml -p autoseg

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt torch
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[test,dicom]'
	touch $@

$(LINT_VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(LINT_VENV)
	$(LINT_VENV)/bin/pip install --quiet --constraint constraints.txt torch
	$(LINT_VENV)/bin/pip install --quiet --constraint constraints.txt '.[lint]'
	touch $@

clean:
	rm -rf $(VENV) $(LINT_VENV) build autoseg-demo
