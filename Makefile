# make demo    a virtual environment, the package, and one whole run of the loop on the shipped organism
# make test    the quick tests         make test-all   also the slow ones and whole runs
# make lint    ruff and mypy           make clean      removes the environment; runs/ stays
#
# Only relative paths stand here, so a checkout whose path has a blank works. Options:
#   make demo PYTHON=python3.12        another interpreter (3.11 or newer)
#   make test ARGS="-k journal -x"     arguments for pytest

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
PIP := .venv/bin/python -m pip install --disable-pip-version-check -c constraints.txt
ARGS ?=

# Idle OpenMP threads that spin cost the working ones most of their time where cores are few.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-all lint install dev clean

demo: install
	.venv/bin/iteralign run quickstart
	@echo
	@echo "Everything this run made is under runs/quickstart. Again, without running: .venv/bin/iteralign show runs/quickstart"

test: dev
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest $(ARGS)

test-all: dev
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m "not gpu" $(ARGS)

lint: dev
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy

install: .venv/.installed
dev: .venv/.installed-dev

# Editable, so a changed source file needs no new install; a changed list of dependencies does.
.venv/.installed: .venv/pyvenv.cfg pyproject.toml constraints.txt
	@echo "Installing into .venv; the first time downloads PyTorch, which takes a few minutes."
	$(PIP) -e .
	@touch $@

.venv/.installed-dev: .venv/pyvenv.cfg pyproject.toml constraints.txt
	@echo "Installing into .venv with the test tools; the first time downloads PyTorch, which takes a few minutes."
	$(PIP) -e ".[dev]"
	@touch .venv/.installed $@

.venv/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; name one: make demo PYTHON=/path/to/python3.12"; exit 2; }
	"$(PYTHON)" -m venv .venv || { echo "make: 'python -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv"; rm -rf .venv; exit 2; }

clean:
	rm -rf .venv
