//! The published vectors: `common/tests/vectors/v1/*.json`.
//!
//! Each file says everything that its verdict hangs on. They are written by the generators here, out of fixed keys and
//! the second writer of [`fixture`](super::fixture), and judged three times: by the real verifier when they are
//! written, by the real verifier from the files alone, and by `common/tests/vectors/check.py`, which knows
//! docs/PROTOCOL.md and none of this code.

mod accept;
mod channel;
mod countersign;
mod dimension;
mod judge;
mod proof;
mod reject;
mod shape;
mod tell;
mod vector;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::PathBuf;

use remit_common::crypto::digest::Digest;
use remit_common::text::from_hex;
use serde_json::Value;

use self::judge::judge;
use self::vector::Vector;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/v1")
}

/// Every vector, by the name of its file.
fn generated() -> BTreeMap<String, String> {
    let lists: [Vec<Vector>; 7] = [
        accept::vectors(),
        dimension::vectors(),
        reject::vectors(),
        shape::vectors(),
        countersign::vectors(),
        channel::vectors(),
        proof::vectors(),
    ];
    let mut files = BTreeMap::new();
    for vector in lists.into_iter().flatten() {
        let (name, text) = vector.finish();
        assert!(files.insert(format!("{name}.json"), text).is_none(), "two vectors are called {name}");
    }
    files
}

fn committed() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder()).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name").to_owned();
        files.insert(name, std::fs::read_to_string(&path).expect("it can be read"));
    }
    files
}

#[test]
fn the_committed_vectors_are_what_the_generator_writes() {
    let (written, found) = (generated(), committed());
    let again = "after a change of the format: `just vectors`";
    assert_eq!(found.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>(), "{again}");
    for (name, text) in &written {
        assert_eq!(found.get(name), Some(text), "{name}; {again}");
    }
}

/// From the files alone, on the real verifier.
#[test]
fn every_vector_is_judged_as_it_says() {
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    let mut faults: BTreeSet<String> = BTreeSet::new();
    for (name, text) in committed() {
        let vector: Value = serde_json::from_str(&text).expect("JSON");
        let found = judge(&vector);
        assert_eq!(found, vector["expected"], "{name}");
        faults.extend(found["fault"].as_str().map(str::to_owned));
        let reason = found["reason"].as_str().or(found["verdict"].as_str()).expect("a word");
        *verdicts.entry(reason.to_owned()).or_default() += 1;
    }
    // Every reason that a verifier of envelopes and proofs can give is reached, and being accepted is no exception.
    let reasons = [
        "bad_proof",
        "bad_signature",
        "expired",
        "malformed",
        "not_yet_valid",
        "out_of_scope",
        "purpose_mismatch",
        "replayed",
        "revoked",
        "wrong_audience",
    ];
    for reason in reasons {
        assert!(verdicts.contains_key(reason), "no vector is {reason}: {verdicts:?}");
    }
    assert!(verdicts["accept"] >= 40, "{verdicts:?}");
    // And every fault of a proof that can be told without an edge around it.
    for fault in ["malformed", "unknown_channel", "other_leaf", "other_edge", "time", "evidence", "replayed"] {
        assert!(faults.contains(fault), "no vector has the fault {fault}: {faults:?}");
    }
}

/// What the fuzz targets begin with: some of the vectors, by target and name.
fn corpora() -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut files = BTreeMap::new();
    for (name, text) in generated() {
        let vector: Value = serde_json::from_str(&text).expect("JSON");
        let name = name.trim_end_matches(".json").to_owned();
        let told = |member: &str| vector[member].as_str().expect("a text").to_owned();
        let (target, bytes) = match vector["kind"].as_str() {
            Some("channel") => ("channel_request", from_hex(&told("request")).expect("hex")),
            Some("proof") => ("proof_header", told("header").into_bytes()),
            _ => ("presentation", from_hex(&told("presentation")).expect("hex")),
        };
        let is_telling = name.contains("accept-") && !name.contains("counter");
        // By the name, so that a new vector changes nothing of the others.
        let is_some = Digest::of(&[name.as_bytes()]).0[0].is_multiple_of(7);
        if bytes.len() < 3_000
            && (is_telling && target != "presentation" || name.starts_with("accept-chain") || is_some)
        {
            files.insert(folder.join(target).join(name), bytes);
        }
    }
    files
}

/// Fuzzing may have added others.
#[test]
fn the_corpora_have_what_comes_from_the_vectors() {
    for (path, bytes) in corpora() {
        let found = std::fs::File::options().read(true).open(&path).and_then(|mut file| {
            let mut found = Vec::new();
            file.read_to_end(&mut found).map(|_| found)
        });
        assert_eq!(found.ok(), Some(bytes), "{}; after a change of the format: `just vectors`", path.display());
    }
}

#[test]
#[ignore = "writes the vectors into the source tree"]
#[expect(clippy::disallowed_methods, reason = "this test is the generator's main function")]
fn write_the_vectors() {
    let files = generated();
    for name in committed().keys().filter(|name| !files.contains_key(*name)) {
        std::fs::remove_file(folder().join(name)).expect("it can be removed");
    }
    for (name, text) in &files {
        std::fs::write(folder().join(name), text).expect("it can be written");
    }
    let corpora = corpora();
    for (path, bytes) in &corpora {
        std::fs::write(path, bytes).expect("it can be written");
    }
    println!("{} vectors, {} seeds of fuzz targets", files.len(), corpora.len());
}
