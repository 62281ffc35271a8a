# `make demo` and `make test` need make, Python 3.10 or newer and, the first time, a network. GNU make 3.81 (macOS) does.

PYTHON ?= python3

PIP = .venv/bin/python -m pip -qq --disable-pip-version-check

# .venv is of use if its Python starts, is new enough and finds its own packages, if no installation was killed halfway,
# and if it was made for this very folder, whose full path its scripts hold. If it is not, it is made again.
sound := $(shell .venv/bin/python -I -c 'import sys, pip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && \
	test ! -e .venv/unfinished && { test ! -e .venv/home || test "`cat .venv/home`" = "`pwd -P`"; } && echo yes)

.NOTPARALLEL:
.PHONY: help demo test gpu-check gpu-emulate gpu-coverage gpu-table lint format clean anew
unexport PYTHONHOME PYTHONPATH

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: .venv/train.stamp ## Train LeNet-5 on handwritten digits, into runs/demo
	@.venv/bin/minidl train lenet --data digits --out runs/demo

# Two processes share two cores: a thread that waits by turning, as OpenMP's do, keeps the other process from one (nets
# that learn took 75 s, and take 58).
test: export OMP_WAIT_POLICY = passive
test: .venv/dev.stamp ## Run the tests, on two cores
	@.venv/bin/python -m pytest -n 2 --dist worksteal

gpu-check: .venv/gpu.stamp ## Run the tests on this machine's GPU
	@.venv/bin/python -c 'import sys, minidl as dl; dl.cuda.is_available() or sys.exit( \
	    "minidl: CuPy finds no GPU here: python -c \"import minidl as dl; dl.cuda.synchronize()\" says what is missing")'
	@MINIDL_TEST_DEVICE=cuda .venv/bin/python -m pytest

gpu-emulate: .venv/gpu-emulate.stamp ## Run the CUDA kernels on the CPU, and compile them, without a GPU
	@PYTHONPATH=tests/cuda .venv/bin/python -c 'import sys, emulator; sys.exit(emulator.unavailable())'
	@.venv/bin/python -m pytest -n 2 tests/cuda

gpu-coverage: .venv/gpu-emulate.stamp ## Say how much of the GPU backend's Python its tests run: 95 % at least
	@PYTHONPATH=. .venv/bin/python tests/cuda/backend_coverage.py

gpu-table: .venv/gpu-emulate.stamp ## Write the table of registers and shared memory, tests/cuda/resources.json, again
	@PYTHONPATH=. .venv/bin/python tests/cuda/nvrtc.py

lint: .venv/dev.stamp ## Check the style of the sources
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

format: .venv/dev.stamp ## Lay out the sources as `make lint` wants them
	@.venv/bin/ruff check --fix-only .
	@.venv/bin/ruff format .

clean: ## Remove all that can be made again; runs/ stays
	rm -rf .venv build dist minidl.egg-info .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says that an installation was finished; each holds all of the one before.
.venv/train.stamp: extras = train
.venv/dev.stamp: extras = train,dev
.venv/gpu.stamp: extras = train,dev,gpu-emulate,gpu
.venv/gpu-emulate.stamp: extras = train,dev,gpu-emulate
.venv/train.stamp .venv/dev.stamp .venv/gpu.stamp .venv/gpu-emulate.stamp: setup.cfg pyproject.toml
	@echo "Setting up .venv (once, about a minute) ..."
	@touch .venv/unfinished && pwd -P > .venv/home
	@$(PIP) install 'pip>=21.3' && $(PIP) install --editable '.[$(extras)]' || { rm .venv/unfinished; \
	    echo "minidl: .venv could not be set up; pip says why above. The first time needs a network." >&2; exit 1; }
	@rm .venv/unfinished && touch .venv/train.stamp $@

ifneq ($(sound),yes)
.venv/train.stamp .venv/dev.stamp .venv/gpu.stamp .venv/gpu-emulate.stamp: anew
endif

anew:
	@rm -f .venv/*.stamp
	@rm -rf .venv
	@"$(PYTHON)" -c '' 2>/dev/null || \
	    { echo "minidl: there is no working '$(PYTHON)' here: install Python 3.10 or newer, or say make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info[:2]; v >= (3, 10) or sys.exit( \
	    "minidl: Python 3.10 or newer is needed, $(PYTHON) is %d.%d: say make PYTHON=... to name another" % v)'
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || "$(PYTHON)" -c 'import sys; sys.exit( \
	    "minidl: $(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python%d.%d-venv" % sys.version_info[:2])'
	@"$(PYTHON)" -m venv .venv
