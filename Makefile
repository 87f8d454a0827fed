# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DIST := dist

.PHONY: help demo test lint docs man wheel deb clean

help:           ## this list
	@sed -n 's/^\([a-z]*\): .*## */make \1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(VENV)/.installed-all  ## set up .venv and run the demo; options of it in ARGS="..."
	$(BIN)/nisse demo $(ARGS)

test: $(VENV)/.installed-dev  ## set up .venv and run the tests, a file at a time on each core
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

lint: $(VENV)/.installed-dev  ## ruff, mypy and, for the C, clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files -z '*.c' '*.h' | xargs -0 -r $(BIN)/clang-format --dry-run --Werror
	$(BIN)/mypy

docs: $(VENV)/.installed-dev  ## the pages of docs/ as a site in out/docs; a dead link is an error
	$(BIN)/python -m mkdocs build

man: $(VENV)/.installed-dev   ## the manual page, from the parser, in out/man
	@mkdir -p out/man
	$(BIN)/argparse-manpage --module nisse.cli --function full_parser --project-name nisse --prog nisse \
		--description "control heat pumps and home batteries" --output out/man/nisse.1

wheel: $(BIN)/python          ## what other machines install, in dist/
	@rm -f $(DIST)/nisse_mpc-*.whl
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(DIST) .
	@ls $(DIST)/nisse_mpc-*.whl

deb: $(VENV)/.installed-dev    ## Debian packages for amd64 and arm64, in dist/
	$(BIN)/python -m deploy.debian --out $(DIST) $(ARGS)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "nisse needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "this Python cannot make virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

clean:          ## removes .venv, out and dist
	rm -rf $(VENV) out dist
