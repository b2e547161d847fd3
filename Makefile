# Each target sets up what it needs: a virtual environment in .venv, installed from pyproject.toml at the versions of
# constraints.txt. Paths are relative, so that the folder's own path may hold spaces.

PYTHON ?= python3
PY := .venv/bin/python
export DAGSTER_HOME ?= $(CURDIR)
export VID_ASSETS_HOME ?= $(CURDIR)/data

# uv is fast, and reads its own settings; wheels that pip was told to find locally are found too.
INSTALL = UV_FIND_LINKS="$${UV_FIND_LINKS:-$$(echo "$$PIP_FIND_LINKS" | tr ' ' ',')}" \
	$(PY) -m uv pip install --quiet --python $(PY) --constraint constraints.txt

.PHONY: demo test ui lint clean

demo: .venv/.installed
	@$(PY) -m vid_assets.demo.run

test: .venv/.installed-test
	@$(PY) -m vid_assets_tests.prepare
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10

ui: .venv/.installed
	$(PY) -m dagster dev --host 127.0.0.1 --port $${PORT:-3000} -w workspace.yaml

lint: .venv/.installed-test
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

clean:
	rm -rf .venv data

.venv/bin/uv:
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); \
		sys.exit(None if ok else "Python 3.11, 3.12 or 3.13 is needed, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check uv

.venv/.installed: .venv/bin/uv pyproject.toml constraints.txt
	$(INSTALL) --editable .
	@touch $@

.venv/.installed-test: .venv/.installed
	$(INSTALL) --editable ".[test]"
	@touch $@
