# make app | test | demo | smoke | lint.  Each makes .venv first if it is missing or requirements changed.
# PYTHON=/path/to/python3.11 picks the Python to build it from; otherwise the first of 3.10 to 3.12 that really runs.

VENV  ?= .venv
PY    := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PORT  ?= 7860

.PHONY: help app test demo smoke lint env clean
.DEFAULT_GOAL := help

help:
	@sed -n '1,2p' Makefile

env: $(STAMP)

# mediapipe 0.10.14 has wheels for 3.10 to 3.12 only. A name on PATH may be a shim that does not run, so each one is tried.
$(STAMP): requirements.txt requirements-dev.txt
	@if [ ! -x $(PY) ]; then \
	  for p in $(PYTHON) python3.12 python3.11 python3.10 python3 python; do \
	    if "$$p" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; then \
	      found="$$p"; break; fi; done; \
	  if [ -z "$$found" ]; then \
	    echo "slotid: no Python 3.10, 3.11 or 3.12 that runs was found (mediapipe has no build for others)." >&2; \
	    echo "        Install one, for example: sudo apt-get install python3.11 python3.11-venv, or set PYTHON=/path/to/python3.11" >&2; \
	    exit 1; fi; \
	  echo "making $(VENV) with $$($$found -V)"; "$$found" -m venv $(VENV); fi
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

app: $(STAMP)
	$(PY) app.py --port $(PORT)

test: $(STAMP)
	$(PY) -m pytest $(ARGS)

# Only the real page on the real pipeline in headless Chromium; `make test` has it too. SLOTID_PATIENCE=600 where the cores are shared.
browser: $(STAMP)
	$(PY) -m pytest tests/browser $(ARGS)

# The first example: its clip, its sentence, a film of the same person doing something else, with the routing map beside it.
demo: $(STAMP)
	@mkdir -p out
	@set -e; clip=$$(ls examples/*/reference.mp4 2>/dev/null | head -n 1); \
	if [ -z "$$clip" ]; then echo "slotid: examples/ holds no clip: take a full clone" >&2; exit 1; fi; \
	$(PY) -m slotid generate --reference "$$clip" --prompt "$$(cat "$$(dirname "$$clip")/prompt.txt")" \
	  --out out/demo.mp4 --maps out/demo_maps

# The whole story, small: train four steps, resume at two, read a person, make a film, evaluate, open the page, also in a browser.
smoke: $(STAMP)
	$(PY) -m pytest tests/smoke tests/evaluate/test_study.py::test_report_of_a_small_run_and_its_resumption tests/browser $(ARGS)

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

# What was trained (runs/) stays: it took hours.
clean:
	rm -rf out .pytest_cache .ruff_cache
