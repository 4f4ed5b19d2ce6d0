#!/usr/bin/env bash
# Makes .venv with scoremix and the named extras: scripts/setup.sh [extras, default dev]
# A stamp of what it installed, and where, lets later calls return at once: its scripts and the editable install hold the place.
set -euo pipefail
cd "$(dirname "$0")/.."
extras="${1:-dev}"

python=""
for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
  if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python="$candidate"
    break
  fi
done
if [ -z "$python" ]; then
  echo "setup: Python 3.11 or newer is needed and was not found (set PYTHON=/path/to/python)" >&2
  exit 2
fi

place="$(pwd -P)"
stamp="$(cat pyproject.toml constraints.txt scripts/setup.sh | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())') $extras
$place"
if [ -L .venv ]; then
  echo "setup: .venv is another checkout's ($(readlink .venv)): this one gets its own"
  rm .venv
fi
if [ -x .venv/bin/python ] && [ "$(cat .venv/.stamp 2>/dev/null)" = "$stamp" ]; then
  exit 0
fi
elsewhere="$(sed -n 2p .venv/.stamp 2>/dev/null || true)"
if [ -n "$elsewhere" ] && [ "$elsewhere" != "$place" ]; then
  echo "setup: .venv was made in $elsewhere and is made anew"
  "$python" -m venv --clear .venv
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
echo "setup: installing scoremix[$extras] into .venv (a minute or two, about 1.7 GB)"
PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip install -q --no-compile -e ".[$extras]"
.venv/bin/python -m pip check
# compiled are the modules that it imports: all that is installed would take a minute more, and where python is told to
# write no bytecode (as in many containers) every command would compile them again, torch among them
env -u PYTHONDONTWRITEBYTECODE .venv/bin/python scripts/compile.py
echo "$stamp" > .venv/.stamp
