#!/usr/bin/env bash
# Sets everything up and runs the linter, the check of types and the tests. Arguments go to pytest (for
# example `-m "not slow"`). Three processes share the tests, a file at a time, those with slow tests first: one
# more than two cores, as tests also wait. Each takes up to 4 GB. `-n 2` takes two, `-n 0` none.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up "test"
"$VENV/bin/ruff" check .
"$VENV/bin/ruff" format --check .
"$VENV/bin/mypy"
exec "$VENV/bin/python" -m pytest -n 3 --dist=loadscope --no-loadscope-reorder --durations=25 "$@"
