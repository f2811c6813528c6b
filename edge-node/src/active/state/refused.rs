//! Why something that arrived is not taken.

use remit_common::bundle::BundleRejected;
use remit_common::bundle::high_water::ActivationGoesBack;
use remit_common::id::{LogIndex, TenantId};
use remit_common::relation_log::BatchRefused;
use remit_common::revocation::RevocationRefused;
use remit_common::shard::{NotRising, ShardRefused};
use remit_common::trust::beacon::BeaconRefused;
use remit_common::trust::freshness::AnswerRefused;
use remit_common::trust::root::TrustRefused;

use super::bundles::ACTIVATIONS_MAX;
use crate::active::store::StoreFailed;

/// The word for a bundle that ended the process twice.
pub(crate) const CRASH_LOOP: &str = "crash_loop";

/// Something that arrived is not taken. What was true stays true.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Trust(#[from] TrustRefused),
    #[error(transparent)]
    Bundle(#[from] BundleRejected),
    #[error(transparent)]
    Shard(#[from] ShardRefused),
    #[error(transparent)]
    ShardNotRising(#[from] NotRising),
    #[error(transparent)]
    Revocation(#[from] RevocationRefused),
    #[error(transparent)]
    Relations(#[from] BatchRefused),
    #[error(transparent)]
    Answer(#[from] AnswerRefused),
    #[error(transparent)]
    Beacon(#[from] BeaconRefused),
    /// It can be checked only under a directory, and none has come yet.
    #[error("no directory has arrived yet")]
    NoDirectory,
    /// A tenant that this edge does not serve.
    #[error("this edge does not serve tenant `{0}`")]
    NotOurs(TenantId),
    /// More than any honest voter tells.
    #[error("more than {ACTIVATIONS_MAX} activations")]
    TooManyActivations,
    /// Going back to an earlier activation.
    #[error(transparent)]
    ActivationGoesBack(#[from] ActivationGoesBack),
    /// The process has ended twice by this bundle.
    #[error("this process has died twice with it, and does not take it by activation {0}")]
    CrashLoop(LogIndex),
    /// The disk failed: fatal for the process, harmless for what is on the disk.
    #[error(transparent)]
    Store(#[from] StoreFailed),
}

impl Refused {
    /// A fixed word for nacks, logs and metrics.
    pub(crate) fn reason_code(&self) -> &'static str {
        match self {
            Self::Trust(_) => "trust",
            Self::Bundle(rejected) => rejected.reason_code(),
            Self::Shard(_) => "shard",
            Self::ShardNotRising(_) => "shard-not-rising",
            Self::Revocation(_) => "revocation",
            Self::Relations(refused) => refused.reason_code(),
            Self::Answer(_) => "tick-answer",
            Self::Beacon(refused) => refused.reason_code(),
            Self::NoDirectory => "no-directory",
            Self::NotOurs(_) => "not-our-tenant",
            Self::TooManyActivations => "too-many-activations",
            Self::ActivationGoesBack(_) => "activation-goes-back",
            Self::CrashLoop(_) => CRASH_LOOP,
            Self::Store(_) => "store",
        }
    }
}
