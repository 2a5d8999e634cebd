#!/usr/bin/env bash
# Sets everything up and runs the main job on a demonstration dataset that it makes itself.
# Arguments go to keras-rms demo (`bash scripts/demo.sh --help`).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
for word in "$@"; do
  case "$word" in
    -h | -help | --help | --helpshort | --helpfull)
      "$VENV/bin/python" scripts/demo.py "$word" 2>/dev/null && exit
      # Nothing is set up, and help sets nothing up: the beginning of the same text.
      sed -n '1s/^"""//; /^"""$/q; p' scripts/demo.py
      exit
      ;;
  esac
done
echo "First the environment $VENV: where packages are missing, they are installed, which takes minutes."
set_up ""
exec "$VENV/bin/keras-rms" demo "$@"
