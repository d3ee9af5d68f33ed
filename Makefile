# Every target works as the first and only command on a fresh clone: it makes .venv, installs, and runs.
# Needs only make and Python >= 3.10 with venv. Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed
LOWEST := .venv-lowest

# Extra arguments: make test ARGS="-k minimize -x";  SLOW=1 adds the tests marked slow.
ARGS ?=
SLOW ?=
PYTEST_SLOW := $(if $(SLOW),-m "",)

# Every YAML that evaluate.py (not train.py) runs.
EXPERIMENTS = $(notdir $(shell grep -LE '^task: *(angle|ddpg)' conf/*.yaml))

.PHONY: help train pretrained test lint format bench results wheel faults test-lowest clean
.DEFAULT_GOAL := help

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# The stamp is newer than what it was installed from, so nothing is installed twice.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python >= 3.10 is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); try: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[all]' --constraint constraints.txt
	@touch $@

train: $(READY)  ## train the direction predictor, then the navigator (about half an hour on two cores)
	$(BIN)/python train.py --config angle.yaml $(ARGS)
	$(BIN)/python train.py --config ddpg.yaml $(ARGS)

# The weights in rover/pretrained; each file names its config, seed, versions and figures.
GRID = data.grid_size=$(1) model.network.grid_size=$(1) log_dir=runs/angle$(1) export.path=runs/angle$(1)/angle.safetensors
NAVIGATOR = model.network.grid_size=$(1) model.angle_net=runs/angle$(1)/angle.safetensors log_dir=runs/ddpg$(1) \
  export.path=runs/ddpg$(1)/grid$(1).safetensors export.name=grid$(1)
pretrained: train  ## train every shipped policy anew (about two hours on two cores) and put it into rover/pretrained
	$(BIN)/python train.py --config angle.yaml $(call GRID,5) trainer.limit_train_batches=20000
	$(BIN)/python train.py --config ddpg.yaml $(call NAVIGATOR,5) 'model.navigation.alpha_range=[0.01,3.0]' 'model.navigation.window_range=[0.05,2.0]'
	$(BIN)/python train.py --config angle.yaml $(call GRID,3) trainer.limit_train_batches=12000
	$(BIN)/python train.py --config ddpg.yaml $(call NAVIGATOR,3) 'model.navigation.alpha_range=[0.01,3.0]' 'model.navigation.window_range=[0.02,1.0]'
	$(BIN)/python train.py --config angle.yaml $(call GRID,9) trainer.limit_train_batches=16000
	$(BIN)/python train.py --config ddpg.yaml $(call NAVIGATOR,9) 'model.navigation.window_range=[0.05,5.0]'
	$(BIN)/python train.py --config angle_paper.yaml
	$(BIN)/python train.py --config ddpg_paper.yaml trainer.limit_train_batches=600
	cp runs/ddpg/default.safetensors runs/ddpg3/grid3.safetensors runs/ddpg5/grid5.safetensors \
	  runs/ddpg9/grid9.safetensors runs/ddpg_paper/paper.safetensors rover/pretrained/

test: $(READY)  ## the test suite; SLOW=1 adds the slow tests, ARGS=... goes to pytest
	$(BIN)/python -m pytest $(PYTEST_SLOW) $(ARGS)

lint: $(READY)  ## ruff (lint and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## let ruff fix and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## the benchmark suite, as ratios measured in one run (under ten minutes)
	-$(BIN)/python -m pip install --quiet --editable '.[all,bench]' --constraint constraints.txt
	$(BIN)/python -m benchmarks $(ARGS)

results: $(READY)  ## every table and figure of docs/results.md and docs/results/
	set -e; for yaml in $(EXPERIMENTS); do $(BIN)/python evaluate.py --config $$yaml $(ARGS); done
	$(BIN)/python -m rover.evaluation.document

faults: $(READY)  ## the whole fault campaign (CI runs a short one)
	ROVER_FAULTS=full $(BIN)/python -m pytest -m "" tests/faults $(ARGS)

wheel: $(READY)  ## build dist/*.whl, which holds rover and nothing else
	rm -rf build dist
	$(BIN)/python -m build --wheel
	@ls -l dist

# A second environment at the lower bounds of pyproject.toml; torch is the exception, see constraints-lowest.txt.
test-lowest:  ## the test suite at the lowest supported versions
	@$(LOWEST)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --editable '.[all]' --constraint constraints-lowest.txt
	$(LOWEST)/bin/python -m pytest -W default $(PYTEST_SLOW) $(ARGS)  # old libraries warn of new ones

clean:  ## remove environments, caches and build outputs (keeps runs/ and data/)
	rm -rf $(VENV) $(LOWEST) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks *.egg-info
