# Each target makes the environment it needs first, in .venv beside this file.
PYTHON ?= python3
VENV := .venv

.PHONY: demo test test-all test-older lint clean

demo: $(VENV)/.installed  ## the whole pipeline on data that it makes itself
	$(VENV)/bin/autoseg demo

test: $(VENV)/.installed  ## the fast tests
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist worksteal

test-all: $(VENV)/.installed  ## the slow tests and those on real images as well
	$(VENV)/bin/python -m pytest --slow --numprocesses 2 --dist worksteal

test-older: export ONEDNN_MAX_CPU_ISA = AVX2
test-older: export ATEN_CPU_CAPABILITY = avx2
test-older: $(VENV)/.installed  ## the three commands and the demo on a processor with AVX2 alone
	$(VENV)/bin/python -m pytest --slow --numprocesses 2 --dist worksteal tests/test_end_to_end.py

lint: $(VENV)/.installed  ## style, formatting, types, and who imports whom
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
# Types and imports are checked in an installed package: planners/ and trainers/ are part of it only there.
	rm -rf build $(VENV)/typed
	$(VENV)/bin/pip install --quiet --no-deps --target $(VENV)/typed .
	cd $(VENV)/typed && MYPYPATH=. ../bin/mypy --config-file ../../pyproject.toml -p autoseg
	cd $(VENV)/typed && ../bin/lint-imports ../../pyproject.toml --no-cache

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt torch
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[test,dicom,lint]'
	touch $@

clean:
	rm -rf $(VENV) build autoseg-demo
