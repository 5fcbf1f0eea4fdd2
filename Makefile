# The commands of the project; CI and people run the same ones.
PYTHON ?= python3
BIN := .venv/bin
ROOMS := trainables searchspace studies analysis

.PHONY: setup study test check format lock clean

setup: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python is %d.%d, but Fewtile needs 3.11 or newer: make setup PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
