#!/usr/bin/env bash
# The tests under every supported CPython that is there (pyenv's, and python3.X on the PATH), without torch.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
tested=0 failed=0
for version in 3.10 3.11 3.12 3.13 3.14; do
  # shellcheck disable=SC2012  # of interpreters with plain names
  python=$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python 2>/dev/null | tail -n 1)
  [ -n "$python" ] || python=$(command -v "python$version") || { echo "== $version: not here"; continue; }
  echo "== $version: $python"
  venv=.venv-$version
  { [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"; } &&
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check hatchling editables \
      'pytest>=8' 'pytest-xdist>=3.5' 'pytest-timeout>=2.2' 'hypothesis>=6.100' 'jinja2>=3.1' 'greenlet>=3' 'rich>=13' &&
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . &&
    "$venv/bin/python" -m pytest tests -n auto --maxprocesses=8 -q -r fE || failed=$((failed + 1))
  tested=$((tested + 1))
done
echo "== $tested interpreters, $failed failed"
[ "$failed" = 0 ] && [ "$tested" != 0 ]
