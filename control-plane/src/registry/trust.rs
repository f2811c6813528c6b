//! Root and directory.

use remit_common::id::LogIndex;
use remit_common::identity::{Administrator, SignedRequest, Verb};
use remit_common::limits::{DIRECTORY_BYTES_MAX, DOCUMENT_BYTES_MAX};
use remit_common::time::Timestamp;
use remit_common::trust::directory::{Directory, SignedDirectory};
use remit_common::trust::root::{Root, SignedRoot, TrustRefused};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::apply::Applied;
use super::authenticate::not_permitted;
use super::refusal::{Refusal, RefusalKind};
use super::rollouts;
use super::state::{Genesis, State};

/// Roots that one mesh can have had. One a year is usual.
const ROOTS_MAX: usize = 256;

/// Roots and a directory on their way in, each as it was signed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustDocuments {
    /// Roots in the order of their versions; those that are here already may be among them.
    pub roots: Vec<Vec<u8>>,
    /// The directory, if it changes.
    pub directory: Option<Vec<u8>>,
}

/// A document as it was signed, and when the log took it: it is verified as of then after a restart, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accepted {
    pub(super) bytes: Vec<u8>,
    pub(super) at: Timestamp,
}

/// Who counts for what in this mesh, verified.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The newest root.
    pub root: Root,
    /// The newest directory.
    pub directory: Directory,
    pub(super) root_chain: Vec<Accepted>,
    pub(super) signed_directory: Accepted,
}

impl Trust {
    /// Every root as it was signed, the pinned one first.
    pub fn root_chain(&self) -> impl Iterator<Item = &[u8]> {
        self.root_chain.iter().map(|accepted| accepted.bytes.as_slice())
    }

    /// The directory as it was signed.
    #[must_use]
    pub fn signed_directory(&self) -> &[u8] {
        &self.signed_directory.bytes
    }

    /// Whether root and directory still count.
    ///
    /// # Errors
    /// [`Refusal`] says which does not.
    pub fn check_time(&self, at: Timestamp) -> Result<(), Refusal> {
        let expired = |error: TrustRefused| Refusal::new(RefusalKind::NotReady, "trust_expired", error);
        self.root.check_time(at).map_err(expired)?;
        self.directory.check_time(at).map_err(expired)
    }

    /// The roots that can have counted when the registry's clock said `at`, the newest last: more than one when a root
    /// came in the same moment.
    ///
    /// # Errors
    /// [`TrustRefused`] when the chain does not verify.
    pub(super) fn roots_at(&self, genesis: &Genesis, at: Timestamp) -> Result<Vec<Root>, TrustRefused> {
        let mut roots = verify_chain(genesis, &self.root_chain)?;
        roots.retain(|(accepted, _)| *accepted <= at);
        let earlier = roots.iter().filter(|(accepted, _)| *accepted < at).count();
        Ok(roots.into_iter().skip(earlier.saturating_sub(1)).map(|(_, root)| root).collect())
    }

    /// Verifies a chain and a directory that were accepted before, each as of then.
    pub(super) fn restore(
        state: &State,
        root_chain: Vec<Accepted>,
        signed_directory: Accepted,
    ) -> Result<Self, TrustRefused> {
        let root = verify_chain(&state.genesis, &root_chain)?.pop().map(|(_, root)| root);
        let rule = "a root chain has at least one root";
        let root = root.ok_or_else(|| TrustRefused::BadRole { role: "root".to_owned(), rule })?;
        let directory = SignedDirectory::parse(&signed_directory.bytes)?.verify(&root, signed_directory.at)?;
        Ok(Self { root, directory, root_chain, signed_directory })
    }
}

/// Every root of a chain, with the time at which the log took it.
fn verify_chain(genesis: &Genesis, chain: &[Accepted]) -> Result<Vec<(Timestamp, Root)>, TrustRefused> {
    let mut roots: Vec<(Timestamp, Root)> = Vec::with_capacity(chain.len());
    for accepted in chain {
        let signed = SignedRoot::parse(&accepted.bytes)?;
        let root = match roots.last() {
            None => signed.verify_pinned(&genesis.root, &genesis.mesh)?,
            Some((_, previous)) => signed.verify_next(previous)?,
        };
        roots.push((accepted.at, root));
    }
    Ok(roots)
}

/// Clause C-56: roots one after the other, then the directory against the newest of them. All or nothing.
pub(super) fn install(state: &mut State, index: LogIndex, documents: &TrustDocuments) -> Result<Applied, Refusal> {
    let refused = |error: TrustRefused| Refusal::new(RefusalKind::Unacceptable, error.reason_code(), error);
    let now = state.clock;
    let mut chain = state.trust.as_ref().map(|trust| trust.root_chain.clone()).unwrap_or_default();
    let mut root = state.trust.as_ref().map(|trust| trust.root.clone());
    for bytes in &documents.roots {
        if chain.iter().any(|accepted| accepted.bytes == *bytes) {
            continue;
        }
        if bytes.len() > DOCUMENT_BYTES_MAX || chain.len() >= ROOTS_MAX {
            return Err(Refusal::malformed("a root that is too long, or one too many"));
        }
        let signed = SignedRoot::parse(bytes).map_err(refused)?;
        root = Some(match &root {
            None => signed.verify_pinned(&state.genesis.root, &state.genesis.mesh).map_err(refused)?,
            Some(previous) => signed.verify_next(previous).map_err(refused)?,
        });
        chain.push(Accepted { bytes: bytes.clone(), at: now });
    }
    let root = root.ok_or_else(|| Refusal::new(RefusalKind::NotReady, "no_root", "there is no root yet"))?;
    // An expired root may still introduce its successor, but the newest must count.
    root.check_time(now).map_err(refused)?;
    let (directory, signed_directory) = match (&documents.directory, &state.trust) {
        (Some(bytes), _) if bytes.len() > DIRECTORY_BYTES_MAX => {
            return Err(Refusal::malformed("the directory is too long"));
        }
        (Some(bytes), current) => {
            let directory = SignedDirectory::parse(bytes).map_err(refused)?.verify(&root, now).map_err(refused)?;
            if let Some(current) = current {
                directory.check_succeeds(&current.directory).map_err(refused)?;
            }
            (directory, Accepted { bytes: bytes.clone(), at: now })
        }
        (None, Some(current)) => {
            // The directory that stays must still be one that the newest root vouches for.
            let signed = SignedDirectory::parse(&current.signed_directory.bytes).map_err(refused)?;
            let directory = signed.verify(&root, now).map_err(refused)?;
            (directory, Accepted { bytes: current.signed_directory.bytes.clone(), at: now })
        }
        (None, None) => return Err(Refusal::new(RefusalKind::NotReady, "no_directory", "there is no directory yet")),
    };
    let applied = Applied::Trust { root: root.version(), directory: directory.version() };
    state.trust = Some(Arc::new(Trust { root, directory, root_chain: chain, signed_directory }));
    state.find_evicted();
    if !documents.roots.is_empty() {
        rollouts::take_back_unvouched(state, index);
    }
    Ok(applied)
}

/// The same, asked for by an administrator: the body is `{"roots":[…],"directory":…}`, each document in its DSSE form.
pub(super) fn install_signed(
    state: &mut State,
    index: LogIndex,
    administrator: &Administrator,
    request: &SignedRequest,
) -> Result<Applied, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body<'a> {
        #[serde(borrow, default)]
        roots: Vec<&'a serde_json::value::RawValue>,
        #[serde(borrow, default)]
        directory: Option<&'a serde_json::value::RawValue>,
    }
    administrator.check_anywhere(Verb::InstallTrust, state.clock).map_err(|error| not_permitted(&error))?;
    let body: Body<'_> = serde_json::from_slice(&request.body).map_err(Refusal::malformed)?;
    let documents = TrustDocuments {
        roots: body.roots.iter().map(|raw| raw.get().as_bytes().to_vec()).collect(),
        directory: body.directory.map(|raw| raw.get().as_bytes().to_vec()),
    };
    install(state, index, &documents)
}
