#!/usr/bin/env bash
# The proof tests with a real solver: cvc5 from PyPI, which is a library, behind the small program beside this file. It is
# installed by pip below the target folder, from the version pinned beside this file. What cannot be installed (no Python,
# no network) is skipped, visibly. A solver of one's own is used instead where REMIT_CVC5 names it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
packages=$target/cvc5
skip() { printf 'SKIPPED: the proof tests: %s\n' "$*"; exit 0; }

if [ -z "${REMIT_CVC5:-}" ]; then
    command -v python3 >/dev/null || skip 'there is no python3'
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || skip 'the solver needs Python 3.10'
    mkdir -p "$packages"
    [ -x "$packages/python/bin/python" ] || python3 -m venv "$packages/python" || skip 'no venv'
    "$packages/python/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" ||
        skip 'pip cannot install cvc5'
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$packages/python/bin/python" "$here/driver.py" >"$packages/cvc5"
    chmod +x "$packages/cvc5"
    export REMIT_CVC5=$packages/cvc5
fi
cd "$root"
cargo test --workspace --locked --test it -- --ignored proof
