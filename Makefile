.PHONY: demo test lint types layers results setup docs wheel oldest

setup:
	@scripts/setup.sh dev

demo: setup  ## the whole method on characters rendered from fonts, about 6 minutes on 2 cores
	@.venv/bin/scoremix run demo

test: setup  ## the test suite, a file of tests to a process of one thread; ARGS for pytest
	@.venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: setup
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .

types: setup
	@.venv/bin/mypy

layers: setup
	@.venv/bin/lint-imports

results: setup  ## docs/results.md, docs/studies/, docs/demo.md, docs/tables.md and README.md from the JSON in docs/results/; docs/settings.md from the config; docs/architecture.svg from the imports
	@.venv/bin/python scripts/results.py && .venv/bin/python scripts/tables.py && .venv/bin/python scripts/people.py && .venv/bin/python scripts/settings.py && .venv/bin/python scripts/architecture.py

docs: setup  ## the documentation site in build/docs; a warning is an error
	@.venv/bin/python -m sphinx -W --keep-going -q docs build/docs && echo build/docs/index.html

wheel: setup  ## dist/: source distribution and wheel
	@.venv/bin/python -m build --no-isolation && .venv/bin/python -m twine check --strict dist/*

oldest:  ## the fast tests with the oldest versions that are allowed, in .venv-oldest; PYTHON=python3.11 where another is the default
	@scripts/oldest.sh $(ARGS)
