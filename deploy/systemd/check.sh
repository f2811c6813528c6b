#!/usr/bin/env bash
# Has systemd read both units and judge how much they leave open. Skipped, with the reason, where there is no systemd.
set -euo pipefail
cd "$(dirname "$0")"
# Tenths of systemd's exposure level: 10 is the most closed that a service with a network can be without a firewall of its own.
EXPOSURE_MAX=15

if ! command -v systemd-analyze >/dev/null 2>&1; then
    echo "skipped: units are checked by systemd-analyze, which is not here"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for unit in remit-control-plane remit-edge-node; do
    # The program need not be installed here; everything else is read as it is.
    sed 's|^ExecStart=/usr/local/bin/|ExecStart=/bin/true --as |' "$unit.service" >"$folder/$unit.service"
    systemd-analyze verify "$folder/$unit.service"
    if ! judged=$(systemd-analyze security --offline=true --threshold="$EXPOSURE_MAX" "$unit.service" 2>&1); then
        printf '%s\n' "$judged" | grep -v '^✓' >&2
        exit 1
    fi
    printf '%s\n' "$judged" | tail -n 1
done
