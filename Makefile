.PHONY: demo test lint types layers results setup

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

results: setup  ## docs/results.md, docs/studies/, docs/demo.md, docs/tables.md and README.md from the JSON in docs/results/; docs/settings.md from the config
	@.venv/bin/python scripts/results.py && .venv/bin/python scripts/tables.py && .venv/bin/python scripts/people.py && .venv/bin/python scripts/settings.py
