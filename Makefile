.PHONY: demo test browser lint types layers results gpu setup docs wheel oldest

setup:
	@scripts/setup.sh dev

demo: setup  ## the whole method on characters rendered from fonts, on 2 cores; then its recognizer in use
	@.venv/bin/scoremix run demo
	@.venv/bin/scoremix fit demo
	@.venv/bin/python scripts/unseen.py scoremix_runs/demo/model scoremix_runs/demo/unseen
	@.venv/bin/scoremix identify demo scoremix_runs/demo/unseen/known scoremix_runs/demo/unseen/asked --top 3 --out scoremix_runs/demo/identified.html

test: setup  ## the test suite, a file of tests to a process of one thread; ARGS for pytest
	@.venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

browser:  ## tests of the pages in a browser (Debian: apt install chromium chromium-driver)
	@scripts/setup.sh dev,explore,browser
	@.venv/bin/python -m pytest -n0 -m browser $(ARGS)

lint: setup
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .

types: setup
	@.venv/bin/mypy

layers: setup
	@.venv/bin/lint-imports

gpu: setup  ## what one GPU tells in 12 minutes, into docs/results/gpu; ARGS="--tiny --minutes 5 --to FOLDER" tries it on a CPU
	@.venv/bin/python benchmarks/gpu.py $(ARGS)

results: setup  ## docs/results.md, docs/studies/, docs/demo.md, docs/tables.md and README.md from the JSON in docs/results/; docs/settings.md from the config; docs/architecture.svg from the imports
	@.venv/bin/python scripts/results.py && .venv/bin/python scripts/tables.py && .venv/bin/python scripts/people.py && .venv/bin/python scripts/choose.py --page && .venv/bin/python scripts/need.py && .venv/bin/python scripts/settings.py && .venv/bin/python scripts/architecture.py

docs: setup  ## the documentation site in build/docs; a warning is an error
	@.venv/bin/python -m sphinx -W --keep-going -q docs build/docs && echo build/docs/index.html

wheel: setup  ## dist/: source distribution and wheel
	@.venv/bin/python -m build --no-isolation && .venv/bin/python -m twine check --strict dist/*

oldest:  ## the fast tests with the oldest versions that are allowed, in .venv-oldest; PYTHON=python3.11 where another is the default
	@scripts/oldest.sh $(ARGS)
