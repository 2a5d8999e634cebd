#!/usr/bin/env bash
# Sets everything up and runs the linter, the check of types and the tests. Arguments go to pytest (for
# example `-m "not slow"`).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up "test"
"$VENV/bin/ruff" check .
"$VENV/bin/ruff" format --check .
"$VENV/bin/mypy"
exec "$VENV/bin/python" -m pytest "$@"
