#!/bin/sh
# Resolve requirements*.in in a fresh environment and write what was installed: exact versions,
# without hashes (wheels differ by platform) and without local versions ("2.13.0", not "2.13.0+cpu").
# usage: lock.sh PYTHON
set -eu
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"$1" -m venv "$fresh"
frozen() { "$fresh/bin/python" -m pip freeze --exclude setuptools | sed 's/+[a-z0-9.]*$//' | sort -f; }
header() { echo "# Made by \`make lock\` from $1; do not edit."; }

"$fresh/bin/python" -m pip install --quiet -r requirements.in
{ header requirements.in; frozen; } > "$fresh/requirements.txt"
mv "$fresh/requirements.txt" requirements.txt
"$fresh/bin/python" -m pip install --quiet -r requirements-dev.in
{ header requirements-dev.in; frozen | grep -vxF -f requirements.txt; } > "$fresh/requirements-dev.txt"
mv "$fresh/requirements-dev.txt" requirements-dev.txt
