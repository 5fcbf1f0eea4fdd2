# The commands of the project; CI and people run the same ones.
PYTHON ?= python3
BIN := .venv/bin

# Each of the many processes of a check would compile the project's modules again
export PYTHONDONTWRITEBYTECODE :=
# Two processes test side by side, on tensors so small that threads would only wait for each other
test test-faults: export OMP_NUM_THREADS := 1

.PHONY: setup study test test-faults test-slow chaos chaos-long bench bench-gpu bench-gpu-small check format lock clean

setup: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python is %d.%d, but Fewtile needs 3.11 or newer: make setup PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

study: setup
	$(BIN)/python studies/phase2_tuning.py

test: setup
	$(BIN)/pytest -m "not slow and not faults" --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-faults: setup
	$(BIN)/pytest -m faults --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-slow: setup
	$(BIN)/pytest -m slow

# Injects faults into running studies and counts what is lost, for three minutes or for MINUTES; SEED repeats a check
chaos: setup
	$(BIN)/python tests/chaos/chaos.py $(if $(SEED),--seed $(SEED))

chaos-long: setup
	$(BIN)/python tests/chaos/chaos.py --minutes $(or $(MINUTES),15) $(if $(SEED),--seed $(SEED))

# Beside plain Ray Tune, Optuna and naive loops, in 11 minutes on two cores; ONLY="draws steps" measures a part
bench: setup
	$(BIN)/python -m benchmarks.bench $(if $(ONLY),--only $(ONLY))

# What a GPU does with every architecture, in 8 minutes; the small one runs the same steps on a CPU
bench-gpu: setup
	$(BIN)/python -m benchmarks.gpu

bench-gpu-small: setup
	$(BIN)/python -m benchmarks.gpu --device cpu --small

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Exact versions for all platforms, without addresses; needs uv.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --extra dev pyproject.toml \
		--output-file requirements.lock --upgrade

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
