#!/bin/sh
# Resolve requirements/*.in in fresh environments and write what was installed: exact versions,
# without hashes (wheels differ by platform) and without local versions ("2.13.0", not "2.13.0+cpu").
# torchvision is left out: nnsight, which dictionary-learning needs, asks for it, nothing here uses
# it, and a wheel of it that does not fit torch's own (CPU, CUDA) breaks `import transformers`.
# usage: lock.sh PYTHON
set -eu
python=$1
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

# resolve ENVIRONMENT NAME: install NAME.in into the environment, write what is there to NAME.txt
resolve() {
    [ -d "$fresh/$1" ] || "$python" -m venv "$fresh/$1"
    "$fresh/$1/bin/python" -m pip install --quiet -r "requirements/$2.in"
    {
        echo "# Made by \`make lock\` from requirements/$2.in; do not edit."
        "$fresh/$1/bin/python" -m pip freeze --exclude setuptools --exclude torchvision |
            sed 's/+[a-z0-9.]*$//' | sort -f
    } > "$fresh/$2.txt"
}

resolve book book
mv "$fresh/book.txt" requirements/
resolve book tests
grep -vxF -f requirements/book.txt "$fresh/tests.txt" > requirements/tests.txt
resolve peers peers
mv "$fresh/peers.txt" requirements/
