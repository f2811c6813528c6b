//! A small mesh for the tests of this crate.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use super::directory::{ALG_ED25519, DirectoryContent, Edge, IssuerEntry, Sealer, SignedDirectory, Voter};
use super::root::{RoleContent, Root, RootContent, SignedRoot};
use crate::crypto::hpke::SealingKey;
use crate::crypto::sign::SigningKey;
use crate::id::{MeshId, TenantId, VoterId};
use crate::identity::{Administrator, Verb};
use crate::policy::Bounds;
use crate::time::Timestamp;

pub(crate) const MESH: MeshId = MeshId([0x11; 16]);
/// 2026-11-01T00:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_793_491_200);

pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(NOW.as_secs().saturating_add_signed(secs))
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

pub(crate) fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

pub(crate) fn role(seeds: &[u8], threshold: usize) -> RoleContent {
    RoleContent { keys: seeds.iter().map(|seed| *key(*seed).public()).collect(), threshold }
}

/// Root keys 1 to 3 (2 needed), directory keys 4 and 5 (2), policy of acme 6 to 8 (2).
pub(crate) fn root_content() -> RootContent {
    RootContent {
        mesh_id: MESH,
        version: 1,
        dev: false,
        expires: at(300 * 86_400),
        root: role(&[1, 2, 3], 2),
        directory: role(&[4, 5], 2),
        policy: BTreeMap::from([(acme(), role(&[6, 7, 8], 2))]),
        bounds_max: Bounds::MOST,
    }
}

pub(crate) fn signed_root(content: &RootContent, seeds: &[u8]) -> SignedRoot {
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    SignedRoot::make(content, &keys.iter().collect::<Vec<_>>()).unwrap()
}

pub(crate) fn root() -> Root {
    let signed = signed_root(&root_content(), &[1, 2]);
    let pin = signed.digest();
    signed.verify_pinned(&pin, &MESH).unwrap()
}

/// Voters' identities 11 to 13, issuers 21 to 23, edges 31 and 32, administrator 41, sealer 51.
pub(crate) fn directory_content() -> DirectoryContent {
    let edge = |id: &str, seed: u8| Edge {
        id: id.parse().unwrap(),
        region: "eu-west".parse().unwrap(),
        identity: *key(seed).public(),
        sealing: SealingKey::from_seed(Zeroizing::new([seed; 32])).public().clone(),
    };
    DirectoryContent {
        mesh_id: MESH,
        version: 1,
        created: NOW,
        expires: at(30 * 86_400),
        voters: (1..=3)
            .map(|n| Voter { id: VoterId(n.into()), identity: *key(10 + n).public(), beacon: None })
            .collect(),
        edges: vec![edge("eu-west-1", 31), edge("eu-west-2", 32)],
        issuers: (21..=23)
            .map(|seed| IssuerEntry {
                alg: ALG_ED25519,
                key: *key(seed).public(),
                tenants: vec![acme()],
                from: NOW,
                until: at(30 * 86_400),
            })
            .collect(),
        administrators: vec![Administrator {
            name: "ops".to_owned(),
            key: *key(41).public(),
            tenants: BTreeSet::from([acme()]),
            // Those that there were when the golden bytes were made: what is added later changes no document.
            verbs: Verb::ALL
                .into_iter()
                .filter(|verb| ![Verb::ChangeVoters, Verb::EnrolEdge, Verb::RevokeEverywhere].contains(verb))
                .collect(),
            expires: at(30 * 86_400),
        }],
        sealers: vec![Sealer {
            name: "sealer".to_owned(),
            key: *key(51).public(),
            tenant: acme(),
            prefix: "acme-".to_owned(),
        }],
    }
}

pub(crate) fn signed_directory(content: &DirectoryContent, seeds: &[u8]) -> SignedDirectory {
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    SignedDirectory::make(content, &keys.iter().collect::<Vec<_>>()).unwrap()
}
