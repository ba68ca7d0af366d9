# Everything happens in .venv; a second call reuses it. PYTHON=/path/to/python3.11 chooses another interpreter.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
# Test processes, of one thread each; a file stays in one, so that its fixtures are made once, and the long files come first.
JOBS ?= 2
PIP_INSTALL := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
export PYTHONUNBUFFERED := 1
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: demo test check fast-test slow-test slurm-test clean

demo: $(VENV)/.installed
	$(VENV)/bin/passerby demo

test: check
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

check: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

fast-test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder tests/unit tests/property

slow-test: $(VENV)/.installed
	$(VENV)/bin/python -m pytest -m slow

slurm-test: $(VENV)/.installed
	$(VENV)/bin/python -m pytest tests/slurm

# torch goes first and alone: where no torch is there, another package's range would take the newest build.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (2.5 GB, some minutes) ..."
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
