#!/usr/bin/env bash
# The published vectors, judged by their second implementation. It is Python and needs two packages, which go into a
# folder of their own; without Python, or without a way to the packages, the step says so and is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
vectors=common/tests/vectors
venv=target/vectors-venv
skip() { printf 'skipped: %s, so the vectors were judged by one implementation only\n' "$1"; exit 0; }
command -v python3 >/dev/null || skip "there is no python3"
if ! "$venv/bin/python" -c 'import cbor2, cryptography' 2>/dev/null; then
    mkdir -p target
    python3 -m venv --clear "$venv" >/dev/null 2>&1 || skip "python3 cannot make a virtual environment"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --timeout 20 --retries 1 \
        -r "$vectors/requirements.txt" >/dev/null 2>&1 || skip "the packages of $vectors/requirements.txt cannot be had"
fi
exec "$venv/bin/python" "$vectors/check.py"
