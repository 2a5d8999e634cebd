#!/usr/bin/env bash
# Sets everything up and runs the linter and the tests. Arguments go to pytest (for example `-m "not slow"`).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up "test"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
exec .venv/bin/python -m pytest "$@"
