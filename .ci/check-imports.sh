#!/usr/bin/env bash
# Imports point one way. Fails with file and line when a module names one that comes after it, or a crate outside
# its fence. Test code counts, too: a test that needs a later module belongs to that module.
set -euo pipefail
cd "$(dirname "$0")/.."
faults=0
fault() { printf '%s\n' "$1" >&2; faults=$((faults + 1)); }

# 1. The order of modules inside common. A module may import itself and what stands on an earlier line.
order=(
    "limits text time planted"
    "id"
    "crypto"
    "identity"
    "lattice"
    "envelope"
    "revocation"
    "proof"
    "policy"
    "trust"
    "bundle shard record relation_log"
    "wire"
    "sync"
    "net"
)
declare -A rank
for i in "${!order[@]}"; do for m in ${order[$i]}; do rank[$m]=$i; done; done
seen=0
while IFS=: read -r file line text; do
    from=${file#common/src/}; from=${from%%/*}; from=${from%.rs}
    [ "$from" = lib ] && continue
    [ -n "${rank[$from]:-}" ] || { fault "$file: module \`$from\` has no place in the order"; continue; }
    for to in $(grep -oE 'crate::[a-z_]+' <<<"$text" | sed 's/crate:://' | sort -u); do
        [ -n "${rank[$to]:-}" ] || continue
        seen=$((seen + 1))
        if [ "$from" != "$to" ] && [ "${rank[$to]}" -ge "${rank[$from]}" ]; then
            fault "$file:$line: \`$from\` imports \`$to\`, which comes later or beside it"
        fi
    done
done < <(grep -rnE 'crate::[a-z_]+' common/src --include='*.rs')
[ "$seen" -gt 50 ] || fault "the order check saw only $seen imports: it checked nothing"

# 2. Fences: a crate, and the only places that may name it.
fence() {
    local crate=$1 allowed=$2
    while IFS=: read -r file line _; do
        # A module of that name, imported from our fence or from rustls, is not the crate.
        if grep -qE "use (crate|remit_common|rustls)::crypto::.*\\b$crate\\b" "$file"; then continue; fi
        grep -qE "^($allowed)" <<<"$file" || fault "$file:$line: \`$crate\` is named outside its fence ($allowed)"
    done < <(grep -rnE "(^|[^a-zA-Z_:])$crate::" --include='*.rs' common control-plane edge-node chaos cli benches | grep -vE ':[0-9]+:\s*//')
}
fence aws_lc_rs 'common/src/crypto/'
fence hpke 'common/src/crypto/'
fence rand_core 'common/src/crypto/'
fence subtle 'common/src/crypto/'
fence bincode 'common/src/wire/codec.rs'
fence rcgen 'common/src/identity/|edge-node/tests/|cli/tests/'
fence x509_parser 'common/src/identity/'
fence cedar_policy_core 'common/src/policy/'
fence cedar_policy_symcc 'cli/src/commands/bundle/prove/'
fence tokio_rustls 'common/src/net/'
fence rustls 'common/src/net/|common/tests/|control-plane/tests/|edge-node/tests/|cli/src/main.rs'
fence openraft 'control-plane/src/raft/|control-plane/tests/'
fence redb 'control-plane/src/|control-plane/tests/|chaos/src/sim/disk/tests/'
fence rmcp 'cli/|edge-node/tests/'

# 3. The pure core touches no runtime, socket, file, environment or clock outside net.
while IFS=: read -r file line text; do
    case "$file" in common/src/net/*) continue ;; esac
    fault "$file:$line: common reaches for the world outside net:$text"
done < <(grep -rnE '(tokio|quinn|hyper|axum)::|std::(fs|net::(Tcp|Udp)|env|process|thread)\b|SystemTime::now|Instant::now' common/src --include='*.rs' | grep -vE ':[0-9]+:\s*//')

# 4. The control plane and the edge never import each other, and nothing below imports what is above it.
while IFS=: read -r file line _; do fault "$file:$line: names a crate that it must not know"; done < <(
    { grep -rnE 'remit_(control_plane|edge_node|chaos|cli)\b' common/src
      grep -rnE 'remit_(edge_node|chaos|cli)\b' control-plane/src
      grep -rnE 'remit_(control_plane|chaos|cli)\b' edge-node/src
      grep -rnE 'remit_cli\b' chaos/src; } || true)

if [ "$faults" -gt 0 ]; then echo "imports: $faults faults" >&2; exit 1; fi
echo "imports: $seen imports inside common point one way; fences hold"
