//! What is asserted of any bytes. Plain functions, so that `cargo test` plays the corpora over them without a fuzzer
//! (`common/tests/it/fuzz.rs`).

use remit_common::crypto::digest::Digest;
use remit_common::envelope::{Issuers, RawPresentation, leaf_holder, read_reference, reference};
use remit_common::id::{LinkId, MeshId};
use remit_common::proof::{Proof, RawRequest};
use remit_common::time::Timestamp;

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
