//! Decoding is the inverse of encoding, on links of every shape that this version accepts.

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::link::{AgentIdentity, EvidenceKind, Link, RootContext};
use super::{decode, encode};
use crate::crypto::digest::Digest;
use crate::crypto::sign::SigningKey;
use crate::id::{DimensionName, LinkId};
use crate::lattice::{
    ArgumentPointer, Audience, ClassSet, Constraint, Delegation, Demands, Effects, Grade, Grant, IdSet, Log,
    PathPrefix, Pin, PurposePath, Redact, Scalar, SortedMap, SortedSet,
};

/// An id of any length up to the longest.
fn id<T: std::str::FromStr + std::fmt::Debug>() -> impl Strategy<Value = T>
where
    T::Err: std::fmt::Debug,
{
    prop_oneof!["[a-z][a-z0-9._-]{0,30}", "[a-z]{64}"].prop_map(|text| text.parse().unwrap())
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{1,30}", "[äöü€ ]{1,40}", "[a-z]{128}"]
}

fn agent() -> impl Strategy<Value = AgentIdentity> {
    (id(), id(), prop::option::of(any::<[u8; 32]>())).prop_map(|(id, class, attestation)| AgentIdentity {
        id,
        class,
        attestation: attestation.map(Digest),
    })
}

fn context() -> impl Strategy<Value = RootContext> {
    let names = (id(), id(), id(), id());
    let kind = prop::sample::select(vec![
        EvidenceKind::Admin,
        EvidenceKind::IdToken,
        EvidenceKind::Jag,
        EvidenceKind::Mandate,
    ]);
    let login = (prop::option::of(text()), prop::option::of(any::<u64>()), prop::option::of(text()));
    (names, kind, any::<[u8; 32]>(), login, any::<[u64; 3]>()).prop_map(
        |((tenant, delegator, session, task), evidence_kind, evidence, (idp, auth_time_secs, acr), versions)| {
            let [catalogue_version, taxonomy_version, min_bundle_version] = versions;
            RootContext {
                tenant,
                delegator,
                session,
                task,
                evidence_kind,
                evidence: Digest(evidence),
                idp,
                auth_time_secs,
                acr,
                catalogue_version,
                taxonomy_version,
                min_bundle_version,
            }
        },
    )
}

fn id_set() -> impl Strategy<Value = IdSet> {
    prop_oneof![
        prop::collection::btree_set(id(), 0..5).prop_map(|ids| IdSet::In(ids.into_iter().collect())),
        Just(IdSet::any())
    ]
}

fn dimensions<T: std::fmt::Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = SortedMap<DimensionName, T>> {
    prop::collection::btree_map(id(), value, 0..4).prop_map(|map| map.into_iter().collect())
}

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        text().prop_map(|text| Scalar::from(text.as_str())),
        any::<i64>().prop_map(Scalar::Int),
        (-30..30i64).prop_map(Scalar::Int),
        any::<bool>().prop_map(Scalar::Bool),
    ]
}

fn constraint() -> impl Strategy<Value = Constraint> {
    prop_oneof![
        prop::collection::vec(scalar(), 1..6).prop_map(Constraint::one_of),
        any::<[i64; 2]>().prop_map(|[a, b]| Constraint::within(a.min(b), a.max(b))),
        "[a-z/]{1,40}".prop_map(|path| Constraint::below(PathPrefix::new(&path).unwrap())),
        any::<u32>().prop_map(Constraint::length_max),
    ]
}

fn args() -> impl Strategy<Value = SortedMap<ArgumentPointer, Constraint>> {
    prop::collection::btree_map("(/[a-z*]{1,9}){1,3}", constraint(), 0..4)
        .prop_map(|args| args.into_iter().map(|(at, constraint)| (at.parse().unwrap(), constraint)).collect())
}

fn pins() -> impl Strategy<Value = SortedMap<crate::id::ToolName, Pin>> {
    prop::collection::btree_map(id(), any::<[u8; 32]>(), 0..3)
        .prop_map(|pins| pins.into_iter().map(|(tool, digest)| (tool, Pin::Is(Digest(digest)))).collect())
}

fn audience() -> impl Strategy<Value = Audience> {
    fn names<T: std::str::FromStr + std::fmt::Debug + Ord>() -> impl Strategy<Value = Option<SortedSet<T>>>
    where
        T::Err: std::fmt::Debug,
    {
        prop::option::weighted(0.3, prop::collection::btree_set(id(), 0..4).prop_map(|set| set.into_iter().collect()))
    }
    (names(), names()).prop_map(|(regions, edges)| Audience { regions, edges })
}

fn demands() -> impl Strategy<Value = Demands> {
    let log = prop::sample::select(vec![Log::Usual, Log::First]);
    (prop::sample::select(Grade::ALL.to_vec()), any::<bool>(), log).prop_map(|(min_pop, unclassified, log)| Demands {
        min_pop,
        redact: Redact { unclassified },
        log,
    })
}

fn grant(root: bool) -> impl Strategy<Value = Grant> {
    let pattern =
        if root { "[a-c]{1,9}(\\.[a-c]{1,3}){0,3}" } else { "([a-c]{1,9}|\\*)(\\.[a-c]{1,3}){1,3}(\\.\\*\\*)?" };
    let tools = prop::collection::btree_set(pattern, 1..4);
    let classes = (any::<bool>(), prop::collection::vec(any::<u8>(), 0..5));
    let effects = (any::<bool>(), 0..64u64);
    let more = (pins(), args(), any::<bool>());
    (0..16u16, tools, dimensions(id_set()), dimensions(any::<u64>()), classes, effects, more).prop_map(
        move |(of, tools, ids, maxima, classes, effects, (pins, args, future))| {
            let mut tools: Vec<_> = tools.iter().map(|text| text.parse().unwrap()).collect();
            tools.sort_by(|a: &crate::lattice::ToolPattern, b| super::cbor::text_order(a.as_str(), b.as_str()));
            Grant {
                of: if root { 0 } else { of },
                tools,
                pins,
                ids,
                maxima,
                args,
                future,
                classes: (root || classes.0).then(|| ClassSet::from_iter(classes.1)),
                effects: if root || effects.0 { Effects::from_bits(effects.1) } else { None },
            }
        },
    )
}

fn link(root: bool) -> impl Strategy<Value = Link> {
    let purpose = prop::collection::vec(any::<u32>(), 0..=8).prop_map(|path| PurposePath::new(&path).unwrap());
    let who = (any::<[u8; 32]>(), any::<[u8; 32]>(), agent(), context(), (any::<bool>(), purpose));
    let words = (prop::option::of(text()), prop::option::of(text()));
    let times = (0..=u64::MAX / 2, 0..100u64, 1..800u64);
    let delegation = (any::<u8>(), any::<u16>(), any::<bool>());
    let terms = (prop::option::of(delegation), audience(), demands());
    let grants = prop::collection::vec(grant(root), 1..5);
    let extensions = prop::collection::btree_map(text(), prop::collection::vec(any::<u8>(), 0..40), 0..3);
    (who, words, times, terms, grants, extensions, any::<[u8; 16]>()).prop_map(
        move |((parent, seed, agent, context, purpose), words, times, terms, grants, extensions, nonce)| Link {
            parent: LinkId(Digest(if root { [0; 32] } else { parent })),
            holder: *SigningKey::from_seed(Zeroizing::new(seed)).unwrap().public(),
            agent,
            context: root.then_some(context),
            purpose: (root || purpose.0).then_some(purpose.1),
            subtask: words.0.filter(|_| !root),
            grants,
            issued_secs: times.0,
            not_before_secs: times.0 + times.1,
            expires_secs: times.0 + times.1 + times.2,
            audience: terms.1,
            demands: terms.2,
            delegation: terms.0.map(|(depth_left, fanout_max, offline)| Delegation { depth_left, fanout_max, offline }),
            nonce,
            intent: words.1,
            extensions,
        },
    )
}

/// Whether this version enforces all of it; what it does not is decoded all the same.
fn enforceable(link: &Link) -> bool {
    link.context.as_ref().is_none_or(|context| context.evidence_kind == EvidenceKind::Admin)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decode_is_the_inverse_of_encode(link in prop_oneof![link(true), link(false)]) {
        let bytes = encode::payload(&link);
        let decode::Payload { link: found, unenforceable } = decode::payload(&bytes).map_err(|fault| {
            TestCaseError::fail(format!("{fault:?}"))
        })?;
        prop_assert_eq!(&found, &link);
        prop_assert_eq!(unenforceable.is_none(), enforceable(&link));
        prop_assert_eq!(encode::payload(&found), bytes);
    }

    /// Whatever is accepted is in the one encoding there is.
    #[test]
    fn what_decodes_encodes_to_the_same_bytes(link in link(false), position: prop::sample::Index, byte: u8) {
        let mut bytes = encode::payload(&link);
        let at = position.index(bytes.len());
        bytes[at] = byte;
        if let Ok(decode::Payload { link, unenforceable: None }) = decode::payload(&bytes) {
            prop_assert_eq!(encode::payload(&link), bytes);
        }
    }
}
