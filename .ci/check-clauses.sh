#!/usr/bin/env bash
# Every clause that code or tests cite stands in docs/PROTOCOL.md, and stands there once.
set -euo pipefail
cd "$(dirname "$0")/.."
faults=0
defined=$(grep -oE '\*\*[A-Z]-[0-9]+' docs/PROTOCOL.md | tr -d '*' | sort)
for clause in $(uniq -d <<<"$defined"); do echo "docs/PROTOCOL.md defines $clause twice" >&2; faults=1; done
cited=$(grep -rohE '\b[ABCDEFGJKLNOPQRSTUWX]-[0-9]{1,2}\b' --include='*.rs' common control-plane edge-node chaos cli | sort -u)
[ "$(wc -l <<<"$cited")" -gt 50 ] || { echo "only $(wc -l <<<"$cited") clauses are cited: nothing was checked" >&2; exit 1; }
for clause in $cited; do
    grep -qx "$clause" <<<"$defined" && continue
    echo "$clause is cited and not defined: $(grep -rnE "\b$clause\b" --include='*.rs' common control-plane edge-node chaos cli | head -n 1 | cut -c1-100)" >&2
    faults=1
done
[ "$faults" = 0 ] && echo "clauses: $(wc -l <<<"$cited") cited, all defined in docs/PROTOCOL.md"
exit "$faults"
