#!/usr/bin/env bash
# Sets everything up and runs the linter, the check of types and the tests. Arguments go to pytest (for
# example `-m "not slow"`). Two processes share the tests, a file at a time, those with slow tests first;
# each takes up to 4 GB. `-n 4` takes four, `-n 0` none.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up "test"
"$VENV/bin/ruff" check .
"$VENV/bin/ruff" format --check .
"$VENV/bin/mypy"
exec "$VENV/bin/python" -m pytest -n 2 --dist=loadscope --no-loadscope-reorder --durations=25 "$@"
