//! What a subscriber fetches, in which order, and when it is whole.
//!
//! One thing at a time, so that the memory a voter can make an edge spend is one bundle. What changes who is trusted
//! comes before what they signed, and bundles, which say who writes relations, before relations.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::published::{OFFER_BATCHES_MAX, OFFER_BYTES_MAX};
use super::transfer::Transfer;
use crate::bundle::container::SignedBundle;
use crate::bundle::manifest::FileEntry;
use crate::crypto::digest::Digest;
use crate::id::TenantId;
use crate::limits::{
    BUNDLE_BYTES_MAX, BUNDLE_FILE_BYTES_MAX, BUNDLE_FILES_MAX, DIRECTORY_BYTES_MAX, DOCUMENT_BYTES_MAX,
    RELATION_SIGNED_BYTES_MAX,
};
use crate::time::BootTime;
use crate::trust::activation::{Activation, RING_STAGED};
use crate::trust::dsse::Envelope;
use crate::wire::frame::PeerMisbehaved;
use crate::wire::message::{Activated, Chunk, ObjectRef, Published, RelationsOffer};

/// Root documents announced and not fetched yet: decades of yearly ones.
pub const ROOTS_MAX: usize = 64;

/// What came of fetching.
#[derive(Debug)]
pub(super) enum Fetched {
    /// These are to be asked for.
    Ask(Vec<Digest>),
    /// A root document is here.
    Root { version: u64, bytes: Vec<u8> },
    /// A directory is here.
    Directory { version: u64, bytes: Vec<u8> },
    /// A manifest is here, and nothing goes on until the edge has looked at it.
    Manifest { activation: Activation, envelope: Envelope },
    /// A bundle is here.
    Bundle { activation: Activation, bundle: SignedBundle },
    /// Batches of relations are here, in their order.
    Relations { tenant: TenantId, first: u64, batches: Vec<Vec<u8>> },
    /// They are not to be had from this voter any more.
    RelationsGone { tenant: TenantId },
    /// What came is not the manifest that was named.
    NotTheManifest { manifest: Digest, code: &'static str, detail: String },
}

/// What is wanted, and what is under way.
#[derive(Debug)]
pub(super) struct Fetching {
    /// Bundles that the edge has whole, verified or refused: not fetched again.
    settled: BTreeSet<Digest>,
    roots: VecDeque<Published>,
    directory: Option<Published>,
    /// One offer of a tenant.
    relations: BTreeMap<TenantId, RelationsOffer>,
    bundles: BTreeMap<(TenantId, u32), Activated>,
    job: Option<Job>,
}

#[derive(Debug)]
enum Job {
    Root(u64, Transfer),
    Directory(u64, Transfer),
    Relations {
        tenant: TenantId,
        first: u64,
        /// Of the offer, in its order.
        order: Vec<Digest>,
        transfer: Transfer,
        /// Whether they are about to be offered again: then nobody wants these.
        is_void: bool,
    },
    Manifest(Activation, Transfer),
    /// The edge is verifying the manifest.
    Verifying(Activation, Envelope),
    Files {
        activation: Activation,
        envelope: Envelope,
        /// Of the manifest, in its order.
        order: Vec<Digest>,
        held: BTreeMap<Digest, Vec<u8>>,
        transfer: Transfer,
    },
}

impl Fetching {
    pub(super) fn new(settled: BTreeSet<Digest>) -> Self {
        Self {
            settled,
            roots: VecDeque::new(),
            directory: None,
            relations: BTreeMap::new(),
            bundles: BTreeMap::new(),
            job: None,
        }
    }

    /// When what is under way has taken too long.
    pub(super) fn deadline(&self) -> Option<BootTime> {
        match self.job.as_ref()? {
            Job::Root(_, transfer)
            | Job::Directory(_, transfer)
            | Job::Relations { transfer, .. }
            | Job::Manifest(_, transfer)
            | Job::Files { transfer, .. } => Some(transfer.deadline()),
            Job::Verifying(..) => None,
        }
    }

    /// Roots are fetched in the order in which they are announced, every one.
    pub(super) fn want_root(&mut self, root: Published) -> Result<(), PeerMisbehaved> {
        check_size(&root.object, DOCUMENT_BYTES_MAX)?;
        if self.roots.len() >= ROOTS_MAX {
            return Err(PeerMisbehaved::TooMany { what: "roots", max: ROOTS_MAX });
        }
        self.roots.push_back(root);
        Ok(())
    }

    /// Only the newest directory is fetched.
    pub(super) fn want_directory(&mut self, directory: Published) -> Result<(), PeerMisbehaved> {
        check_size(&directory.object, DIRECTORY_BYTES_MAX)?;
        self.directory = Some(directory);
        Ok(())
    }

    /// Only the newest bundle of a tenant's ring is fetched; one that is under way is finished, and superseded then.
    pub(super) fn want_bundle(&mut self, activated: Activated) -> Result<(), PeerMisbehaved> {
        check_size(&activated.envelope, DOCUMENT_BYTES_MAX)?;
        let key = (activated.activation.tenant.clone(), activated.activation.ring);
        self.bundles.insert(key, activated);
        Ok(())
    }

    /// Nothing is staged of a tenant any more.
    pub(super) fn unwant_staged(&mut self, tenant: &TenantId) {
        self.bundles.remove(&(tenant.clone(), RING_STAGED));
    }

    /// Of each tenant only the newest offer is fetched: a voter makes the next when it has heard of the last, or to
    /// replace all (D-13).
    pub(super) fn want_relations(&mut self, offer: RelationsOffer) -> Result<(), PeerMisbehaved> {
        let bytes = offer.batches.iter().fold(0u64, |sum, batch| sum.saturating_add(batch.len));
        if offer.batches.len() > OFFER_BATCHES_MAX {
            return Err(PeerMisbehaved::TooMany { what: "batches of relations at a time", max: OFFER_BATCHES_MAX });
        }
        if offer.batches.iter().any(|batch| exceeds(batch.len, RELATION_SIGNED_BYTES_MAX))
            || (offer.batches.len() > 1 && exceeds(bytes, OFFER_BYTES_MAX))
        {
            return Err(PeerMisbehaved::TooLong { len: bytes, max: OFFER_BYTES_MAX });
        }
        self.relations.insert(offer.tenant.clone(), offer);
        Ok(())
    }

    /// What was offered of a tenant does not count any more: it is about to be offered again.
    pub(super) fn forget_relations(&mut self, of: &TenantId) {
        self.relations.remove(of);
        if let Some(Job::Relations { tenant, is_void, .. }) = &mut self.job
            && tenant == of
        {
            *is_void = true;
        }
    }

    /// A piece has come.
    pub(super) fn take(&mut self, chunk: Chunk, now: BootTime, out: &mut Vec<Fetched>) -> Result<(), PeerMisbehaved> {
        let refuse = PeerMisbehaved::OutOfPlace { kind: "Object", why: "the object was not asked for" };
        self.transfer().ok_or(refuse)?.take(chunk)?;
        self.finish(now, out);
        Ok(())
    }

    /// The voter does not have an object any more: its state has moved on between announcing and asking, and what
    /// replaced it is announced, too.
    pub(super) fn absent(
        &mut self,
        object: &Digest,
        now: BootTime,
        out: &mut Vec<Fetched>,
    ) -> Result<(), PeerMisbehaved> {
        let refuse = PeerMisbehaved::OutOfPlace { kind: "Absent", why: "the object was not asked for" };
        self.transfer().ok_or(refuse)?.give_up(object)?;
        self.finish(now, out);
        Ok(())
    }

    /// The manifest that was handed out may be followed by its files.
    pub(super) fn manifest_verified(
        &mut self,
        files: &[FileEntry],
        held: BTreeMap<Digest, Vec<u8>>,
        now: BootTime,
        out: &mut Vec<Fetched>,
    ) -> Result<(), PeerMisbehaved> {
        let Some(Job::Verifying(activation, envelope)) = self.job.take() else { return Ok(()) };
        let bytes = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.len));
        if files.len() > BUNDLE_FILES_MAX
            || exceeds(bytes, BUNDLE_BYTES_MAX)
            || files.iter().any(|file| exceeds(file.len, BUNDLE_FILE_BYTES_MAX))
        {
            self.settled.insert(activation.manifest);
            self.go_on(now, out);
            return Err(PeerMisbehaved::TooLong { len: bytes, max: BUNDLE_BYTES_MAX });
        }
        let missing = files
            .iter()
            .filter(|file| !held.contains_key(&file.sha256))
            .map(|file| ObjectRef { digest: file.sha256, len: file.len });
        let transfer = Transfer::of(missing, now);
        let order = files.iter().map(|file| file.sha256).collect();
        if !transfer.is_complete() {
            out.push(Fetched::Ask(transfer.digests()));
        }
        self.job = Some(Job::Files { activation, envelope, order, held, transfer });
        self.finish(now, out);
        Ok(())
    }

    /// This bundle is not to be fetched again.
    pub(super) fn settle(&mut self, manifest: Digest, now: BootTime, out: &mut Vec<Fetched>) {
        self.settled.insert(manifest);
        if matches!(&self.job, Some(Job::Verifying(activation, _)) if activation.manifest == manifest) {
            self.job = None;
        }
        self.go_on(now, out);
    }

    /// Starts what is most urgent, if nothing is under way.
    pub(super) fn go_on(&mut self, now: BootTime, out: &mut Vec<Fetched>) {
        if self.job.is_some() {
            return;
        }
        let settled = &self.settled;
        self.bundles.retain(|_, activated| !settled.contains(&activated.activation.manifest));
        let fetch = |object| Transfer::of([object], now);
        let job = if let Some(root) = self.roots.pop_front() {
            Job::Root(root.version, fetch(root.object))
        } else if let Some(directory) = self.directory.take() {
            Job::Directory(directory.version, fetch(directory.object))
        } else if let Some((_, bundle)) = self.bundles.pop_first() {
            Job::Manifest(bundle.activation, fetch(bundle.envelope))
        } else {
            // Last: whoever writes relations without end keeps nobody from the bundle that takes the key away.
            let Some((_, RelationsOffer { tenant, first, batches })) = self.relations.pop_first() else { return };
            let order = batches.iter().map(|batch| batch.digest).collect();
            Job::Relations { tenant, first, order, transfer: Transfer::of(batches, now), is_void: false }
        };
        self.job = Some(job);
        out.extend(self.transfer().map(|transfer| Fetched::Ask(transfer.digests())));
    }

    fn transfer(&mut self) -> Option<&mut Transfer> {
        match self.job.as_mut()? {
            Job::Root(_, transfer)
            | Job::Directory(_, transfer)
            | Job::Relations { transfer, .. }
            | Job::Manifest(_, transfer)
            | Job::Files { transfer, .. } => Some(transfer),
            Job::Verifying(..) => None,
        }
    }

    /// Hands out what is whole, and starts the next.
    fn finish(&mut self, now: BootTime, out: &mut Vec<Fetched>) {
        if !self.transfer().is_some_and(|transfer| transfer.is_complete()) {
            return;
        }
        match self.job.take() {
            Some(Job::Root(version, transfer)) => {
                out.extend(only(transfer).map(|bytes| Fetched::Root { version, bytes }));
            }
            Some(Job::Directory(version, transfer)) => {
                out.extend(only(transfer).map(|bytes| Fetched::Directory { version, bytes }));
            }
            Some(Job::Relations { is_void: true, .. }) => {}
            Some(Job::Relations { tenant, first, order, transfer, is_void: false }) => {
                let fetched = transfer.into_objects();
                let batches = fetched.and_then(|fetched| in_order(&order, &fetched, &BTreeMap::new()));
                out.push(match batches {
                    Some(batches) => Fetched::Relations { tenant, first, batches },
                    None => Fetched::RelationsGone { tenant },
                });
            }
            Some(Job::Manifest(activation, transfer)) => {
                if let Some(bytes) = only(transfer) {
                    self.look_at_manifest(activation, &bytes, out);
                }
            }
            Some(Job::Files { activation, envelope, order, held, transfer }) => {
                if let Some(files) = transfer.into_objects().and_then(|fetched| in_order(&order, &fetched, &held)) {
                    self.settled.insert(activation.manifest);
                    let bundle = SignedBundle::from_parts(envelope, files);
                    out.push(Fetched::Bundle { activation, bundle });
                }
            }
            Some(Job::Verifying(..)) | None => {}
        }
        self.go_on(now, out);
    }

    /// What was fetched must at least be a signed document whose payload is the manifest that the activation names.
    fn look_at_manifest(&mut self, activation: Activation, bytes: &[u8], out: &mut Vec<Fetched>) {
        let manifest = activation.manifest;
        match Envelope::parse(bytes) {
            Ok(envelope) if Digest::of(&[&envelope.payload]) == manifest => {
                out.push(Fetched::Manifest { activation: activation.clone(), envelope: envelope.clone() });
                self.job = Some(Job::Verifying(activation, envelope));
            }
            Ok(_) => {
                let detail = "the document is not the manifest that was named".to_owned();
                out.push(Fetched::NotTheManifest { manifest, code: "wrong-manifest", detail });
            }
            Err(fault) => {
                out.push(Fetched::NotTheManifest { manifest, code: "malformed", detail: fault.to_string() });
            }
        }
    }
}

/// The one object of a transfer of one.
fn only(transfer: Transfer) -> Option<Vec<u8>> {
    transfer.into_objects()?.into_values().next()
}

fn in_order(
    order: &[Digest],
    fetched: &BTreeMap<Digest, Vec<u8>>,
    held: &BTreeMap<Digest, Vec<u8>>,
) -> Option<Vec<Vec<u8>>> {
    order.iter().map(|digest| fetched.get(digest).or_else(|| held.get(digest)).cloned()).collect()
}

fn exceeds(len: u64, max: usize) -> bool {
    usize::try_from(len).map_or(true, |len| len > max)
}

fn check_size(object: &ObjectRef, max: usize) -> Result<(), PeerMisbehaved> {
    if exceeds(object.len, max) { Err(PeerMisbehaved::TooLong { len: object.len, max }) } else { Ok(()) }
}
