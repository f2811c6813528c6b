#!/usr/bin/env bash
# A real nginx guarded by a real edge, with the configuration in examples/nginx. Installs nginx by apt-get where that is
# possible; skipped, with the reason, where it is not.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v nginx >/dev/null 2>&1 && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light; } \
        >/dev/null 2>&1 || true
fi
if ! command -v nginx >/dev/null 2>&1; then
    echo 'SKIPPED: nginx is not here, and cannot be installed by apt-get'
    exit 0
fi
nginx -V 2>&1 | grep -q http_auth_request_module || { echo 'SKIPPED: this nginx has no auth_request module'; exit 0; }
cargo test -p remit-edge-node --locked --test it -- --ignored --exact nginx::nginx_passes_what_the_edge_lets_pass_and_nothing_else
