# Targets are listed by `make` alone. Each sets up .venv first where that is needed, and only then.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

# The stamp's name carries the folder: in a moved or copied folder the package is installed anew, so that
# notebooks never import the package of the old folder.
empty :=
space := $(empty) $(empty)
STAMP := $(VENV)/installed$(subst /,-,$(subst $(space),_,$(CURDIR)))

# With PY=python (an environment of your own, such as conda's) nothing is set up here.
SETUP := $(if $(filter $(VENV)/bin/python,$(PY)),$(STAMP))

.DEFAULT_GOAL := help
.PHONY: help setup run publish test figures lint clean

help:  ## list these targets
	@awk -F ':.*  ## ' '/^[a-z]+:.*  ## / { printf "  make %-9s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(SETUP)  ## make .venv and install the package with its dependencies (PYTHON=... picks the interpreter)

run: $(SETUP)  ## execute every notebook at its quick size into out/, and compare it with what is committed
	$(PY) -m lalm_utils.cli.quick

publish: $(SETUP)  ## execute every notebook at full size in place, in hours; resumable at any point
	$(PY) -m lalm_utils.cli.execute --resume

# Two processes of one thread each: most tests are too small for two threads, which then wait for each other.
test: $(SETUP)  ## run all tests; every notebook is executed as a copy on a few items
	LALM_UTILS_THREADS=1 OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile

figures: $(SETUP)  ## redraw figures/ from the CSVs beside them; no model is needed
	$(PY) -m lalm_utils.plots.redraw

lint: $(SETUP)  ## check style and formatting of Python files and notebooks
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

clean:  ## remove .venv and what builds and tests leave (the user's cache of clips and weights stays)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find lalm_utils tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

# A missing or dangling interpreter: made anew.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "'$(PYTHON)' is not Python 3.11 or newer. Install one and name it: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	  exit 1; }
	$(PYTHON) -m venv --clear $(VENV) || { \
	  echo "'$(PYTHON)' cannot make a virtual environment. On Debian or Ubuntu: apt install python3-venv" >&2; \
	  rm -rf $(VENV); exit 1; }

# The stamp is written last: after an interruption the next call repairs what is half-made.
$(STAMP): pyproject.toml $(VENV)/bin/python
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(VENV)/bin/python -m ensurepip --upgrade
	$(VENV)/bin/python -m pip install -e '.[test]'
	@touch '$@'
