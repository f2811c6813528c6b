//! A small mesh: keys, root, and the sources of a bundle.

use std::collections::BTreeMap;

use remit_common::bundle::{BuildOverrides, BundleSource, MANIFEST_TYPE, Manifest, SignedBundle};
use remit_common::crypto::sign::SigningKey;
use remit_common::id::{MeshId, TenantId};
use remit_common::policy::Bounds;
use remit_common::time::Timestamp;
use remit_common::trust::dsse::Envelope;
use remit_common::trust::role::RoleContent;
use remit_common::trust::root::{Root, RootContent, SignedRoot};
use zeroize::Zeroizing;

pub(super) const MESH: MeshId = MeshId([0x11; 16]);
/// 2026-11-01T00:00:00Z, when the bundle says it was made.
pub(super) const NOW: Timestamp = Timestamp::from_secs(1_793_491_200);
/// Who signs bundles of acme: two of these.
pub(super) const POLICY: [u8; 3] = [6, 7, 8];

pub(super) fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(NOW.as_secs() + secs)
}

pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

pub(super) fn acme() -> TenantId {
    "acme".parse().unwrap()
}

pub(super) fn role(seeds: &[u8], threshold: usize) -> RoleContent {
    RoleContent { keys: seeds.iter().map(|seed| *key(*seed).public()).collect(), threshold }
}

pub(super) fn root_content() -> RootContent {
    RootContent {
        mesh_id: MESH,
        version: 1,
        dev: false,
        expires: at(300 * 86_400),
        root: role(&[1, 2, 3], 2),
        directory: role(&[4, 5], 2),
        policy: BTreeMap::from([(acme(), role(&POLICY, 2)), ("other".parse().unwrap(), role(&[16, 17, 18], 2))]),
        bounds_max: Bounds::MOST,
    }
}

pub(super) fn root_of(content: &RootContent) -> Root {
    let signed = SignedRoot::make(content, &[&key(1), &key(2)]).unwrap();
    let pin = signed.digest();
    signed.verify_pinned(&pin, &content.mesh_id).unwrap()
}

pub(super) fn root() -> Root {
    root_of(&root_content())
}

pub(super) fn sources() -> BundleSource {
    let files: [(&str, &[u8]); 8] = [
        ("bundle.toml", include_bytes!("sources/bundle.toml")),
        ("canaries.yaml", include_bytes!("sources/canaries.yaml")),
        ("catalogue/notes.toml", include_bytes!("sources/catalogue/notes.toml")),
        ("classes.toml", include_bytes!("sources/classes.toml")),
        ("entities.json", include_bytes!("sources/entities.json")),
        ("policies/notes.cedar", include_bytes!("sources/policies/notes.cedar")),
        ("purposes.toml", include_bytes!("sources/purposes.toml")),
        ("schema.cedarschema", include_bytes!("sources/schema.cedarschema")),
    ];
    BundleSource { files: files.into_iter().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect() }
}

/// The sources with one file changed.
pub(super) fn sources_with(path: &str, change: impl FnOnce(String) -> String) -> BundleSource {
    let mut sources = sources();
    let text = String::from_utf8(sources.files[path].clone()).unwrap();
    let changed = change(text.clone());
    assert_ne!(changed, text, "the change changes nothing");
    sources.files.insert(path.to_owned(), changed.into_bytes());
    sources
}

pub(super) fn built(sources: &BundleSource) -> SignedBundle {
    sources.build(&BuildOverrides::default()).unwrap().into_container()
}

pub(super) fn signed_by(mut bundle: SignedBundle, seeds: &[u8]) -> SignedBundle {
    for seed in seeds {
        bundle.add_signature(&key(*seed));
    }
    bundle
}

pub(super) fn signed() -> SignedBundle {
    signed_by(built(&sources()), &[6, 8])
}

pub(super) fn version(number: u64) -> SignedBundle {
    let overrides = BuildOverrides { version: Some(number), ..BuildOverrides::default() };
    signed_by(sources().build(&overrides).unwrap().into_container(), &[6, 7])
}

/// A bundle whose administrators signed this manifest, whatever it says.
pub(super) fn with_manifest(change: impl FnOnce(&mut Manifest)) -> SignedBundle {
    let bundle = built(&sources());
    let mut manifest = bundle.dangerous_unverified_manifest().unwrap();
    change(&mut manifest);
    with_payload(serde_json::to_vec(&manifest).unwrap(), bundle.parts().1.to_vec())
}

pub(super) fn with_payload(payload: Vec<u8>, files: Vec<Vec<u8>>) -> SignedBundle {
    signed_by(SignedBundle::from_parts(Envelope::new(MANIFEST_TYPE, payload), files), &[6, 7])
}
