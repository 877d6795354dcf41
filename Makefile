# Each target makes the environment it needs first, in .venv beside this file.
PYTHON ?= python3
VENV := .venv

.PHONY: demo test test-all lint clean

demo: $(VENV)/.installed  ## the whole pipeline on data that it makes itself
	$(VENV)/bin/autoseg demo

test: $(VENV)/.installed  ## the fast tests
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist worksteal

test-all: $(VENV)/.installed  ## the slow tests and those on real images as well
	$(VENV)/bin/python -m pytest --slow --numprocesses 2 --dist worksteal

lint: $(VENV)/.installed  ## style, formatting and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
# Types are checked in an installed package: planners/ and trainers/ are part of it only there.
	rm -rf $(VENV)/typed
	$(VENV)/bin/pip install --quiet --no-deps --target $(VENV)/typed .
	cd $(VENV)/typed && MYPYPATH=. ../bin/mypy --config-file ../../pyproject.toml -p autoseg

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt torch
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[test,dicom,lint]'
	touch $@

clean:
	rm -rf $(VENV) build autoseg-demo
