# `just check` never writes; `just fix` does; `just ci` is what the pipeline runs.

default:
    @just --list

# Format, imports and lints, without writing.
check:
    cargo fmt --all --check
    .ci/check-imports.sh
    .ci/check-clauses.sh
    cargo clippy --workspace --all-targets -- -D warnings

# Format, and apply what clippy can.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty

test:
    cargo test --workspace

# The story of examples/contract-renewal on a real mesh of processes.
demo *args:
    cargo run --release -- demo {{args}}

# Official MCP clients, unchanged, through `remit agent`: from PyPI and npm.
clients:
    cli/tests/clients/run.sh

# Figures of benches/BUDGETS.md.
bench:
    cargo bench -p remit-benches

# Random failures in the simulation, seed after seed: `just soak --seeds 2000 --jobs 2`.
soak *args:
    cargo run --release -- drill soak {{args}}

# Plant every known bug in turn and see whether the simulation finds it. Builds in a target folder of its own.
mutation *args:
    cargo run --release --target-dir target/mutation -p remit-chaos --features planted --bin remit-mutation -- {{args}}

# Change the lattice, one place at a time, and see whether its tests notice: no survivor may stand in a `meet` or an
# `admits`. Needs `cargo install cargo-mutants --locked`; a single function: `just mutants --re 'Constraint::meet'`.
mutants *args:
    cargo mutants -p remit-common --file 'common/src/lattice/*.rs' -j1 -o target {{args}} -- --lib --test it -- lattice:: envelope:: policy::terms

# Write the published vectors anew, and have them judged by their second implementation.
vectors:
    cargo test -p remit-common --test it -- --ignored --nocapture write_the_vectors
    .ci/check-vectors.sh

# Strange bytes at what a stranger can send: `just fuzz presentation -- -max_total_time=600`. Needs a nightly compiler
# and `cargo install cargo-fuzz`; without them the corpora are played by `just test`.
fuzz target *args:
    cd fuzz && cargo +nightly fuzz run {{target}} {{args}}

ci:
    .ci/run
