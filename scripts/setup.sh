#!/usr/bin/env bash
# Makes the virtual environment .venv and installs this project into it. Sourced by demo.sh and test.sh;
# alone, `bash scripts/setup.sh [extras]` only does the set-up: `and-cuda` for NVIDIA GPUs, `test,beam` for two.
# Needs Python 3.10 to 3.13 (another than `python3`: PYTHON=/path/to/python3.12).
# VENV=DIR names another folder for the environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
VENV="${VENV:-.venv}"

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

supported() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python3.10; do
    if supported "$candidate"; then echo "$candidate"; return; fi
    [ "$candidate" != "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is not a Python 3.10 to 3.13."
  done
  fail "No Python 3.10 to 3.13 was found. Install one (Debian and Ubuntu: apt-get install python3)" \
    "or name it: PYTHON=/path/to/python3.12 bash $0"
}

# Debian and Ubuntu ship `venv` without pip; the package that completes it is python3.X-venv.
install_venv_module() {
  local package as_root=""
  package="$("$1" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')"
  local remedy="Python's venv module is incomplete here. Install it (sudo apt-get install $package) and run this again."
  command -v apt-get >/dev/null || fail "$remedy"
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || fail "$remedy"
    as_root="sudo"
  fi
  echo "Installing $package, which Python needs to make virtual environments"
  $as_root apt-get update -q && $as_root apt-get install -y -q "$package" || fail "$remedy"
}

make_environment() {
  local python
  python="$(find_python)"
  rm -rf "$VENV"
  echo "Making the virtual environment $VENV with $("$python" --version)"
  "$python" -c 'import ensurepip' 2>/dev/null || install_venv_module "$python"
  "$python" -m venv "$VENV" || fail "$python -m venv $VENV failed; its message is above."
}

# pip only warns of an extra that does not exist.
check_extras() {
  local extra
  for extra in ${1//,/ }; do
    sed -n '/^\[options.extras_require\]/,/^\[tool/p' setup.cfg | grep -qxF "$extra =" ||
      fail "There is no extra '$extra'. setup.cfg lists all under [options.extras_require]."
  done
}

# Installs what the commands need and the extras named, once for each content of the files that say what that is.
set_up() {
  local extras="commands${1:+,$1}" wanted
  check_extras "$extras"
  wanted="$extras $(cat setup.cfg setup.py pyproject.toml | cksum)"
  if [ -f "$VENV/installed" ] && grep -qxF "$wanted" "$VENV/installed"; then return; fi
  [ -x "$VENV/bin/python" ] && "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || make_environment
  echo "Installing keras_rms[$extras] and what it needs (several hundred MB the first time)"
  "$VENV/bin/python" -m pip install --disable-pip-version-check -e ".[$extras]" ||
    fail "pip could not install the project; its message is above. Run the same command again to continue."
  echo "$wanted" >>"$VENV/installed"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then set_up "${1:-}"; fi
