//! The fuzz targets without a fuzzer: over the committed corpora, over every vector, and over what is next to them.

#[allow(unreachable_pub, reason = "it is a library elsewhere")]
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::path::{Path, PathBuf};

use remit_common::text::from_hex;
use serde_json::Value;

fn read_all(folder: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

#[expect(clippy::disallowed_methods, reason = "corpora are files of the source tree")]
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("it can be read")
}

/// This member of every vector that has it.
fn of_vectors(member: &str) -> Vec<Vec<u8>> {
    let vectors =
        read_all("tests/vectors/v1").into_iter().map(|file| serde_json::from_slice::<Value>(&file).expect("JSON"));
    let found = vectors.filter_map(|vector| {
        let text = vector[member].as_str()?.to_owned();
        Some(if member == "header" { text.into_bytes() } else { from_hex(&text).expect("hex") })
    });
    found.collect()
}

fn replay(target: fn(&[u8]), corpus: &str, member: &str, least: usize) {
    let seeds = read_all(corpus);
    assert!(seeds.len() >= least, "{corpus} has {} files", seeds.len());
    let vectors = of_vectors(member);
    assert!(vectors.len() > 30, "{} vectors have `{member}`", vectors.len());
    for seed in vectors.iter().chain(&seeds) {
        target(seed);
    }
    bend(target, &seeds);
}

fn bend(target: fn(&[u8]), seeds: &[Vec<u8>]) {
    // What is next to an honest one: cut at each byte, and each byte bent.
    for seed in seeds {
        let step = seed.len() / 200 + 1;
        for at in (0..seed.len()).step_by(step) {
            target(&seed[..at]);
            let mut bent = seed.clone();
            bent[at] ^= 1 << (at % 8);
            target(&bent);
        }
    }
}

#[test]
fn presentations_have_one_encoding_and_never_panic() {
    replay(targets::presentation, "../fuzz/corpus/presentation", "presentation", 15);
}

#[test]
fn requests_for_channels_have_one_encoding_and_never_panic() {
    replay(targets::channel_request, "../fuzz/corpus/channel_request", "request", 4);
}

#[test]
fn headers_of_proofs_have_one_encoding_and_never_panic() {
    replay(targets::proof_header, "../fuzz/corpus/proof_header", "header", 8);
}

#[test]
fn batches_of_relations_never_panic_and_are_read_as_written() {
    let seeds = read_all("../fuzz/corpus/relation_batches");
    assert!(seeds.len() >= 6, "{} seeds", seeds.len());
    seeds.iter().for_each(|seed| targets::relation_batches(seed));
    bend(targets::relation_batches, &seeds);
}

/// Over a corpus, and over what is next to it: cut and bent at `places` of its bytes.
fn replay_around(target: fn(&[u8]), seeds: &[Vec<u8>], places: usize) {
    for seed in seeds {
        target(seed);
        for at in (0..seed.len()).step_by(seed.len() / places + 1) {
            target(&seed[..at]);
            let mut bent = seed.clone();
            bent[at] ^= 1 << (at % 7);
            target(&bent);
        }
    }
}

#[test]
fn sources_of_bundles_never_panic_and_faults_have_places() {
    let seeds = read_all("../fuzz/corpus/bundle_sources");
    assert!(seeds.len() >= 6);
    replay_around(targets::bundle_sources, &seeds, 25);
}

#[test]
fn manifests_and_containers_never_panic_and_are_read_as_written() {
    let manifests = read_all("../fuzz/corpus/manifest");
    assert!(manifests.iter().any(|manifest| remit_common::bundle::Manifest::parse(manifest).is_ok()));
    replay_around(targets::manifest, &manifests, 400);
    let whole = read_all("../fuzz/corpus/bundle_sources").pop().expect("the last is the whole one");
    let files = targets::files_of(&String::from_utf8(whole).expect("text"));
    let built = remit_common::bundle::BundleSource { files }.build(&remit_common::bundle::BuildOverrides::default());
    let container = built.expect("it builds").into_container().to_bytes();
    assert!(remit_common::bundle::SignedBundle::parse(&container).is_ok());
    replay_around(targets::bundle, &[container], 400);
}

#[test]
fn relation_models_and_tuples_never_panic_and_the_closure_answers_as_the_walk() {
    let seeds = read_all("../fuzz/corpus/relations");
    assert!(seeds.len() >= 4, "{} seeds", seeds.len());
    seeds.iter().for_each(|seed| targets::relations(seed));
    bend(targets::relations, &seeds);
}
