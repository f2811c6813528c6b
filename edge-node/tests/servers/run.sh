#!/usr/bin/env bash
# Official tool servers, unchanged, behind a real edge: from PyPI and npm, in the versions pinned beside this file, below
# the target folder. What cannot be installed (no Python, no Node, no git, no network) is skipped, visibly.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
servers=${CARGO_TARGET_DIR:-$root/target}/servers
mkdir -p "$servers/node"
skip() { printf 'SKIPPED: %s\n' "$*"; exit 0; }

command -v git >/dev/null || skip 'the tool servers: there is no git'
command -v python3 >/dev/null || skip 'the tool servers: there is no python3'
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || skip 'the tool servers: they need Python 3.10'
command -v npm >/dev/null || skip 'the tool servers: there is no npm'
node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' || skip 'the tool servers: they need Node 20'
[ -x "$servers/python/bin/python" ] || python3 -m venv "$servers/python" || skip 'the tool servers: no venv'
"$servers/python/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" ||
    skip 'the tool servers: pip cannot install them'
cp "$here/package.json" "$here/package-lock.json" "$servers/node/"
(cd "$servers/node" && npm ci --silent --no-audit --no-fund --ignore-scripts) || skip 'the tool servers: npm cannot install them'
# The test finds node where this script does.
ln -sf "$(command -v node)" "$servers/node/node"
(cd "$root" && cargo test -p remit-edge-node --locked --test it -- --ignored --nocapture official)
