#!/bin/sh
# What this code does on this machine's GPU, in one table, in about eight minutes: see
# benchmarks/gpu_check.py.
# Makes nothing that stays. Needs .venv of `make book` (or PYTHON=another python) with a torch that
# finds the GPU, a C compiler and Python's headers; with sae-lens in it too, SAELens' rows are filled.
# By estimate: 16 GB of GPU memory (rows that need more say so), 16 GB of main memory, up to 30 GB of
# disk below artifacts/. Asks no network.
# usage: [PYTHON=python] workflow/gpu_check.sh [options of benchmarks/gpu_check.py]
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
command -v "$python" > /dev/null || {
    echo "no $python: run \`make book\` first, or set PYTHON" >&2
    exit 1
}
export PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" benchmarks/gpu_check.py --device cuda "$@"
