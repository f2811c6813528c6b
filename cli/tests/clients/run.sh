#!/usr/bin/env bash
# Official SDK clients, unchanged, through `remit agent`: Python from PyPI and TypeScript from npm. They are installed by
# pip and npm below the target folder, from the versions pinned beside this file. What cannot be installed (no Python, no
# Node, no network) is skipped, visibly. Argument: the executable; without it, it is built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
remit=${1:-}
if [ -z "$remit" ]; then
    (cd "$root" && cargo build --workspace --locked)
    remit=$target/debug/remit
fi
packages=$target/clients
mkdir -p "$packages"
skip() { printf 'SKIPPED: %s\n' "$*"; }

has_python() {
    command -v python3 >/dev/null || { skip 'the Python client: there is no python3'; return 1; }
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { skip 'the Python client: it needs Python 3.10'; return 1; }
    [ -x "$packages/python/bin/python" ] || python3 -m venv "$packages/python" || { skip 'the Python client: no venv'; return 1; }
    "$packages/python/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" ||
        { skip 'the Python client: pip cannot install it'; return 1; }
}

has_node() {
    command -v npm >/dev/null || { skip 'the TypeScript client: there is no npm'; return 1; }
    node -e "process.exit(Number(process.versions.node.split(\".\")[0]) < 20 ? 1 : 0)" || { skip 'the TypeScript client: it needs Node 20'; return 1; }
    mkdir -p "$packages/node"
    cp "$here/package.json" "$here/package-lock.json" "$here/story.mjs" "$packages/node/"
    (cd "$packages/node" && npm ci --silent --no-audit --no-fund --ignore-scripts) || { skip 'the TypeScript client: npm cannot install it'; return 1; }
}

python='' node=''
has_python && python=$packages/python/bin/python
has_node && node=yes
[ -n "$python$node" ] || exit 0

play=$(mktemp -d)
sidecar=''
finish() {
    [ -z "$sidecar" ] || kill "$sidecar" 2>/dev/null || true
    (cd "$play" && "$remit" down >/dev/null 2>&1) || true
    rm -rf "$play"
}
trap finish EXIT
cd "$play"
"$remit" up --detach --voters 1 --regions lab --edges 2 >/dev/null
"$remit" envelope issue --task .remit/example/task.toml -o maya.envelope --key agent.key >/dev/null
mapfile -t edges < <(tr ',{}' '\n\n\n' <.remit/mesh.json | sed -n 's/.*"agent": *"\(http[^"]*\)".*/\1/p')
[ "${#edges[@]}" = 2 ] || { echo "the mesh has ${#edges[@]} edges" >&2; exit 1; }

if [ -n "$python" ]; then
    "$python" "$here/story.py" play "$remit" maya.envelope agent.key "${edges[@]}"
fi
if [ -n "$node" ]; then
    "$remit" agent --envelope maya.envelope --key agent.key --edge "${edges[0]}" --edge "${edges[1]}" \
        --listen 127.0.0.1:0 --secret agent.secret --json >listening.json &
    sidecar=$!
    for _ in {1..600}; do
        if [ -s listening.json ] || ! kill -0 "$sidecar" 2>/dev/null; then break; fi
        sleep 0.1
    done
    [ -s listening.json ] || { echo "the sidecar does not listen" >&2; exit 1; }
    url=$(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' listening.json)
    (cd "$packages/node" && node story.mjs "$remit" "$play/maya.envelope" "$play/agent.key" "$url" "$(cat "$play/agent.secret")" "${edges[@]}")
fi
if [ -n "$python" ]; then
    "$remit" revoke session session-maya-0711 >/dev/null
    "$remit" revocation coverage 1 --wait >/dev/null
    "$python" "$here/story.py" revoked "$remit" maya.envelope agent.key "${edges[@]}"
fi
