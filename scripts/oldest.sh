#!/usr/bin/env bash
# The fast tests with the oldest versions that pyproject.toml allows: scripts/oldest.sh [arguments of pytest]
# CONSTRAINTS names another file than constraints-oldest.txt, where its torch is not to be had.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3.11}"
[ -x .venv-oldest/bin/python ] || "$python" -m venv .venv-oldest
.venv-oldest/bin/python -m pip install -q --disable-pip-version-check -c "${CONSTRAINTS:-constraints-oldest.txt}" \
  -e . pytest pytest-xdist pytest-timeout hypothesis beartype scikit-learn pytorch-metric-learning ema-pytorch torchdiffeq pyarrow webdataset onnx onnxscript onnxruntime
exec .venv-oldest/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"
