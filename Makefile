# make demo   trains, attacks and exports two classifiers on the embedded digits
# make test   runs the fast tests
# make test-slow  the others: whole processes, whole tools, what XLA compiles
# make coverage  the fast tests, then the lines of the package that they do not run
# make check  lint, format, types and the order of imports
# make docs   the documentation as a site, in site/
# make wheel  the package as a wheel, in dist/
# make smoke  the main command on real data, scaled to seconds
#
# Each makes .venv from requirements.txt first if it is not there or out of date.

SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

.PHONY: demo test test-slow coverage check format smoke docs wheel

demo: $(INSTALLED)
	$(PYTHON) tools/demo.py

test: $(INSTALLED)
	$(PYTHON) -m pytest

test-slow: $(INSTALLED_DEV)
	$(PYTHON) -m pytest -m slow

coverage: $(INSTALLED_DEV)
	$(PYTHON) -m pytest --cov --cov-report=term-missing:skip-covered --cov-fail-under=95

check: $(INSTALLED_DEV)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(INSTALLED_DEV)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(INSTALLED_DEV)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict

wheel: $(INSTALLED_DEV)
	rm -rf dist
	$(PYTHON) -m build --wheel --outdir dist .

smoke: $(INSTALLED)
	rm -rf runs/smoke
	$(PYTHON) -m fsgan_tf.train --flagfile=configs/digits.flags --run_dir=runs/smoke \
	  --epochs=1 --train_examples=256 --eval_examples=64
	$(PYTHON) -m fsgan_tf.evaluate --run_dir=runs/smoke --attacks=fgsm,pgd10 --num_examples=64

$(INSTALLED): requirements.txt constraints.txt
	@for python in $(BASE_PYTHON) python3 python3.12 python3.11 python3.10; do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then \
	    [ -x $(PYTHON) ] || $$python -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; found=1; break; fi; done; \
	[ -n "$$found" ] || { echo "error: Python 3.10, 3.11 or 3.12 with venv is needed; install it or give BASE_PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(INSTALLED_DEV): requirements-dev.txt $(INSTALLED)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
