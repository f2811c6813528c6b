//! What is asserted of any bytes. Plain functions, so that `cargo test` plays the corpora over them without a fuzzer
//! (`common/tests/it/fuzz.rs`).

use std::collections::BTreeMap;

use remit_common::bundle::{BuildOverrides, BundleSource, Manifest, SignedBundle, suite};
use remit_common::crypto::digest::Digest;
use remit_common::crypto::key_file;
use remit_common::envelope::{Issuers, RawPresentation, leaf_holder, read_reference, reference};
use remit_common::id::{LinkId, MeshId, TenantId};
use remit_common::policy::PolicyFault;
use remit_common::policy::relations::{RelationSchema, Relations, Tuple};
use remit_common::proof::{Proof, RawRequest};
use remit_common::relation_log::{BATCH_TYPE, RelationLog, SignedBatch, Writers};
use remit_common::time::Timestamp;
use remit_common::trust::dsse::Envelope;

const MESH: MeshId = MeshId([0x4d; 16]);

/// A presentation, or a reference to one: no panic, and what is accepted is what it is written as.
pub fn presentation(bytes: &[u8]) {
    if let Some(leaf) = read_reference(bytes) {
        assert_eq!(reference(&leaf), bytes, "a reference has one encoding");
    }
    let Ok(raw) = RawPresentation::parse(bytes) else { return };
    assert_eq!(raw.to_bytes(), bytes, "a presentation has one encoding");
    assert!(raw.leaf_id(&MESH).is_some() && leaf_holder(&raw).is_some(), "there is a last link");
    let again = RawPresentation::parse(&raw.to_bytes()).map(|again| again.links().cloned().collect::<Vec<_>>());
    assert_eq!(again, Ok(raw.links().cloned().collect::<Vec<_>>()), "what is read is what was written");
    // Nobody is listed: whatever it says, it proves nothing.
    assert!(raw.verify(&MESH, &Issuers::default()).is_err(), "nobody signed it");
}

/// A request for a channel, as it is posted.
pub fn channel_request(bytes: &[u8]) {
    let Ok(raw) = RawRequest::parse(bytes) else { return };
    assert_eq!(raw.to_bytes(), bytes, "a request has one encoding");
    let (mesh, edge) = (raw.request().mesh, raw.request().edge.clone());
    let time = raw.request().time;
    assert_eq!(raw.check_place_and_time(&mesh, &edge, time), Ok(()), "it is for where and when it says");
    assert!(raw.check_place_and_time(&mesh, &edge, Timestamp::MAX).is_err() || time > Timestamp::from_secs(1 << 40));
    let other = LinkId(Digest::of(&[bytes]));
    assert_ne!(raw.request().leaf, other, "nobody asks for the digest of the request itself");
}

/// A proof, as its header carries it; and the same bytes as if they were what the header encodes.
pub fn proof_header(bytes: &[u8]) {
    let encoded = remit_common::text::base64url(bytes);
    for header in [bytes, encoded.as_bytes()] {
        let Ok(proof) = Proof::parse(header) else { continue };
        assert_eq!(proof.to_header().as_bytes(), header, "a proof has one encoding");
        assert_eq!(Proof::parse(proof.to_header().as_bytes()), Ok(proof), "what is read is what was written");
    }
}

/// A container, as an edge fetches it: no panic, and what is accepted can be written and read again.
pub fn bundle(bytes: &[u8]) {
    let Ok(bundle) = SignedBundle::parse(bytes) else { return };
    let again = SignedBundle::parse(&bundle.to_bytes());
    assert_eq!(again.as_ref(), Ok(&bundle), "what is read is what was written");
    assert_eq!(again.map(|again| again.digest()), Ok(bundle.digest()), "a bundle keeps its name");
    if let Ok(manifest) = bundle.dangerous_unverified_manifest() {
        assert!(manifest.check().is_ok(), "a manifest that is read holds together");
    }
}

/// A manifest's payload: no panic, and what is accepted says the same when it is written anew.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    let written = serde_json::to_vec(&manifest).unwrap_or_default();
    assert_eq!(Manifest::parse(&written), Ok(manifest), "what is read is what was written");
}

/// The files of a text in which each begins with a line `=== PATH`.
pub fn files_of(text: &str) -> BTreeMap<String, Vec<u8>> {
    let parts = text.split("=== ").skip(1).filter_map(|part| part.split_once('\n'));
    parts.map(|(path, content)| (path.trim().to_owned(), content.as_bytes().to_vec())).collect()
}

/// The sources of a bundle: no panic, from the first file to the self-test and the cases, and every fault has a place.
pub fn bundle_sources(bytes: &[u8]) {
    let source = BundleSource { files: files_of(&String::from_utf8_lossy(bytes)) };
    let placed = |faults: &[PolicyFault]| {
        assert!(!faults.is_empty(), "who refuses says why");
        assert!(faults.iter().all(|fault| fault.line > 0 && fault.column > 0 && !fault.file.is_empty()), "{faults:?}");
    };
    let cells = suite::read(&source.files).unwrap_or_else(|faults| {
        placed(&faults);
        Vec::new()
    });
    let built = match source.build(&BuildOverrides { mesh_id: Some(MESH), ..BuildOverrides::default() }) {
        Ok(built) => built,
        Err(faults) => return placed(&faults),
    };
    bundle(&built.clone().into_container().to_bytes());
    if let Ok(compiled) = built.check() {
        let named = suite::check(&cells, &compiled, &source.files);
        cells.iter().take(32).for_each(|cell| _ = suite::run(cell, &compiled));
        named.unwrap_or_else(|faults| placed(&faults));
    }
}

/// A relation model, an empty line, and a tuple on each line after it: what a bundle and a writer bring.
pub fn relations(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        _ = RelationSchema::parse("relations.fga", bytes);
        return;
    };
    let (model, lines) = text.split_once("\n\n").unwrap_or((text, ""));
    let tuples: Vec<Tuple> = lines.lines().filter_map(|line| line.parse().ok()).collect();
    for tuple in &tuples {
        assert_eq!(tuple.to_string().parse().as_ref(), Ok(tuple), "one text is one tuple");
    }
    let Ok(schema) = RelationSchema::parse("relations.fga", model.as_bytes()) else { return };
    let fits = tuples.iter().filter(|tuple| schema.check(&tuple.key).is_ok()).cloned().collect::<Vec<_>>();
    let relations = Relations::new(schema.into(), 1, tuples);
    assert!(relations.len() <= fits.len(), "what does not fit counts for nothing");
    for Tuple { key, .. } in fits.iter().take(64) {
        let found = relations.check(&key.object, &key.relation, &key.subject, Timestamp::from_secs(0));
        let walked = relations.check_by_walking(&key.object, &key.relation, &key.subject, Timestamp::from_secs(0));
        assert!(walked.is_err() || found == walked, "the closure and the walk differ over `{key}`");
    }
}

/// A batch of relation tuples: as it arrives from whoever, and, signed, as what a hostile writer has to say.
pub fn relation_batches(bytes: &[u8]) {
    let Ok(tenant) = TenantId::new("acme") else { return };
    if let Ok(batch) = SignedBatch::parse(bytes) {
        assert_eq!(**batch.bytes(), *bytes, "a batch is kept as it arrived");
        assert!(batch.verify(&MESH, &tenant, &Writers::default()).is_err(), "nobody may write");
    }
    let seed = b"remit-ed25519-seed BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";
    let Ok(key) = key_file::parse_signing(seed) else { return };
    let mut envelope = Envelope::new(BATCH_TYPE, bytes.to_vec());
    envelope.sign(&key);
    let Ok(writers) = Writers::new(&[*key.public()]) else { return };
    let Ok(signed) = SignedBatch::parse(&envelope.to_bytes()) else { return };
    let Ok(batch) = signed.clone().verify(&MESH, &tenant, &writers) else { return };
    let content = batch.content().clone();
    let again = content.sign(&key).and_then(|again| again.verify(&MESH, &tenant, &writers));
    assert_eq!(again.map(|again| again.content().clone()), Ok(content.clone()), "what is read is what was written");
    let mut log = RelationLog::new(MESH, tenant);
    let appended = log.append(batch).is_ok();
    assert!(!appended || content.revision == 1, "a log begins with the first");
    if appended {
        assert!(log.live().len() <= content.add.len(), "nothing holds that nobody stated");
    }
}
