#!/usr/bin/env bash
# Sets everything up and runs the main job on a demonstration dataset that it makes itself.
# Arguments go to scripts/demo.py (`bash scripts/demo.sh --help`).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up ""
exec "$VENV/bin/python" scripts/demo.py "$@"
